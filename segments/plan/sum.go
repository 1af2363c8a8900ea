package plan

import (
	"math"
	"math/big"
	"math/bits"
	"strconv"
)

// decimalSum adds numbers as sum writes it in SQL: exactly while they are decimals of up to nine digits after the
// point and not enormous, so that a sum does not depend on the order of reading; what is beyond is added with
// compensation (Kahan, "Further remarks on reducing truncation errors", 1965).
type decimalSum struct {
	high               int64 // billionths, in two's complement
	low                uint64
	rest, compensation float64
}

const billion = 1_000_000_000

// enormous is from where on numbers are not added exactly.
const enormous = 1e15

func (s *decimalSum) add(x float64) {
	if high, low, ok := billionths(x); ok {
		var carry uint64
		s.low, carry = bits.Add64(s.low, low, 0)
		s.high += high + int64(carry)
		return
	}
	y := x - s.compensation
	total := s.rest + y
	s.compensation = (total - s.rest) - y
	s.rest = total
}

func (s *decimalSum) total() float64 { return ofBillionths(s.high, s.low) + s.rest }

// billionths is a number in two's complement, if it is a decimal of so few digits.
func billionths(x float64) (high int64, low uint64, ok bool) {
	if math.Abs(x) >= enormous {
		return 0, 0, false
	}
	var digits [32]byte
	text := strconv.AppendFloat(digits[:0], math.Abs(x), 'f', -1, 64)
	var whole, fraction uint64
	places := -1
	for _, c := range text {
		switch {
		case c == '.':
			places = 0
		case places < 0:
			whole = whole*10 + uint64(c-'0')
		case places == 9:
			return 0, 0, false
		default:
			fraction = fraction*10 + uint64(c-'0')
			places++
		}
	}
	for ; places >= 0 && places < 9; places++ {
		fraction *= 10
	}
	top, bottom := bits.Mul64(whole, billion)
	bottom, carry := bits.Add64(bottom, fraction, 0)
	high, low = int64(top+carry), bottom
	if math.Signbit(x) {
		low = -low
		high = ^high
		if low == 0 {
			high++
		}
	}
	return high, low, ofBillionths(high, low) == x
}

// ofBillionths is the nearest number to an integer, divided by a billion.
func ofBillionths(high int64, low uint64) float64 {
	if high == int64(low)>>63 {
		return float64(int64(low)) / billion
	}
	n := new(big.Int).Lsh(big.NewInt(high), 64)
	n.Add(n, new(big.Int).SetUint64(low))
	f, _ := new(big.Float).SetInt(n).Float64()
	return f / billion
}
