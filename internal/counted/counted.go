// Package counted writes numbers of things for people: "1 person", "1,204 people".
package counted

import "strconv"

// Number is a type of whole numbers that things are counted in.
type Number interface{ ~int | ~int64 | ~uint64 }

// Grouped is a number with commas between its thousands.
func Grouped[N Number](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Of is a number of things, named by the word for one of them: in the singular for 1 and −1.
func Of[N Number](n N, one string) string { return Grouped(n) + " " + Word(n, one) }

// Word is the word for that many things, given that for one of them.
func Word[N Number](n N, one string) string {
	if abs := int64(n); abs == 1 || abs == -1 {
		return one
	}
	switch last := len(one) - 1; {
	case one == "person":
		return "people"
	case one[last] == 'y' && !isVowel(one[last-1]):
		return one[:last] + "ies"
	default:
		return one + "s"
	}
}

func isVowel(b byte) bool { return b == 'a' || b == 'e' || b == 'o' || b == 'u' }
