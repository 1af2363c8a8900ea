package sms

import (
	"strings"
	"unicode/utf8"
)

// The alphabet of GSM 03.38 without its escape, and the characters that an escape leads to, which take
// the room of two.
const (
	basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	extension = "\f^{}\\[~]|€"
)

// What a text message holds: alone, and as a part of a longer one, where a header takes of the room.
const (
	gsmAlone, gsmPart   = 160, 153 // septets
	ucs2Alone, ucs2Part = 70, 67   // UTF-16 code units
)

// Segments is how many text messages a text is sent, and paid for, as. One character outside of the
// GSM alphabet makes all of it UCS-2, of which fewer go into a message.
func Segments(text string) int {
	if size, ok := septets(text); ok {
		return parts(text, size, gsmAlone, gsmPart, gsmWidth)
	}
	size := 0
	for _, r := range text {
		size += ucs2Width(r)
	}
	return parts(text, size, ucs2Alone, ucs2Part, ucs2Width)
}

// septets is how long a text is in the GSM alphabet, and whether it can be written in it.
func septets(text string) (size int, ok bool) {
	for _, r := range text {
		w := gsmWidth(r)
		if w == 0 {
			return 0, false
		}
		size += w
	}
	return size, true
}

// gsmWidth is how many septets a character takes, 0 for one that the alphabet does not have.
func gsmWidth(r rune) int {
	switch {
	case strings.ContainsRune(basic, r):
		return 1
	case strings.ContainsRune(extension, r):
		return 2
	}
	return 0
}

// ucs2Width is how many UTF-16 code units a character takes.
func ucs2Width(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// parts counts the messages of a text. A character that takes two is not cut in half: one that does
// not fit any more begins the next part.
func parts(text string, size, alone, part int, width func(rune) int) int {
	if text == "" {
		return 0
	}
	if size <= alone {
		return 1
	}
	n, room := 1, part
	for _, r := range text {
		w := width(r)
		if w > room {
			n, room = n+1, part
		}
		room -= w
	}
	return n
}

// foreign is the first character of a text that is not in the GSM alphabet.
func foreign(text string) (r rune, found bool) {
	for _, r := range text {
		if gsmWidth(r) == 0 && r != utf8.RuneError {
			return r, true
		}
	}
	return 0, false
}
