package ticktest

import "math/rand/v2"

// dice make every choice of a case, so that a seed, or the bytes of a fuzzer, say all of it.
type dice struct{ next func() uint64 }

func seeded(seed uint64) *dice {
	r := rand.New(rand.NewPCG(seed, 3))
	return &dice{r.Uint64}
}

// fromBytes takes its choices from bytes, two for each, and zeroes when they are used up.
func fromBytes(b []byte) *dice {
	return &dice{func() uint64 {
		if len(b) < 2 {
			b = nil
			return 0
		}
		v := uint64(b[0])<<8 | uint64(b[1])
		b = b[2:]
		return v
	}}
}

// n is a number from 0 to n-1.
func (d *dice) n(n int) int { return int(d.next() % uint64(n)) }

// span is a number from 0 to n-1, of the size of times.
func (d *dice) span(n int64) int64 {
	hi := d.next() & 0xffff
	return int64((hi<<16 ^ d.next()) % uint64(n))
}

// one in n times.
func (d *dice) one(n int) bool { return d.n(n) == 0 }

func pick[T any](d *dice, from ...T) T { return from[d.n(len(from))] }
