package plan

import (
	"math"
	"math/big"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Decimals of few digits are added exactly, in whatever order.
func TestDecimalSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.SliceOfN(rapid.Int64Range(-1e15, 1e15), 1, 40).Draw(t, "digits")
		places := rapid.SliceOfN(rapid.Int32Range(0, 9), len(digits), len(digits)).Draw(t, "places")
		exact := decimal.Zero
		var there, back decimalSum
		numbers := make([]float64, len(digits))
		for i := range digits {
			d := decimal.New(digits[i], -places[i])
			numbers[i], _ = d.Float64()
			_, _, ok := billionths(numbers[i])
			if !ok {
				t.Skip("more digits than a number holds")
			}
			exact = exact.Add(d)
		}
		for i := range numbers {
			there.add(numbers[i])
			back.add(numbers[len(numbers)-1-i])
		}
		require.Equal(t, there, back)
		require.Equal(t, exact.Shift(9).BigInt().String(), inBillionths(there).String())
		f, _ := exact.Float64()
		require.InDelta(t, f, there.total(), math.Abs(f)*1e-15)
	})
}

func inBillionths(s decimalSum) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(s.high), 64)
	return n.Add(n, new(big.Int).SetUint64(s.low))
}

func TestNumbersThatAreNotAddedExactly(t *testing.T) {
	for _, x := range []float64{1e15, -1e15, 1e300, 1e-10, 0.1234567891, math.Inf(1)} {
		_, _, ok := billionths(x)
		require.False(t, ok, x)
	}
	var s decimalSum
	for range 10 {
		s.add(0.1)
	}
	s.add(1e16)
	s.add(1)
	s.add(-1e16)
	require.InDelta(t, 2.0, s.total(), 1e-12)
}
