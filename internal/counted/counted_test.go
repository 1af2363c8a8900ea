package counted_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/internal/counted"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		n    int64
		one  string
		want string
	}{
		{0, "person", "0 people"},
		{1, "person", "1 person"},
		{-1, "person", "-1 person"},
		{2, "person", "2 people"},
		{1, "rule", "1 rule"},
		{999, "rule", "999 rules"},
		{1000, "message", "1,000 messages"},
		{-1234567, "message", "-1,234,567 messages"},
		{2, "query", "2 queries"},
		{1, "query", "1 query"},
		{3, "day", "3 days"},
	} {
		require.Equal(t, c.want, counted.Of(c.n, c.one))
	}
}
