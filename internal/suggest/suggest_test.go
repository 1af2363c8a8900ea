package suggest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/internal/suggest"
)

func TestNearest(t *testing.T) {
	for _, tc := range []struct {
		name, word string
		candidates []string
		want       string
	}{
		{"a letter too many", "Produkct Viewed", []string{"Product Added", "Product Viewed"}, "Product Viewed"},
		{"neighbours swapped", "pirce", []string{"price", "piece"}, "piece"},
		{"case and separators are no difference", "order-completed", []string{"Order Completed", "order_complete"}, "Order Completed"},
		{"letters, not bytes", "größe", []string{"grösse", "größen"}, "größen"},
		{"a short word may have one", "ur", []string{"url", "title"}, "url"},
		{"too far", "basket", []string{"cart"}, ""},
		{"a long word may have three", "transactionalyyyy", []string{"transactional"}, ""},
		{"not the word itself", "cart", []string{"cart"}, ""},
		{"the first of equals", "cat", []string{"car", "bat"}, "bat"},
		{"one letter says nothing", "u", []string{"b"}, ""},
		{"but its case", "U", []string{"u"}, "u"},
		{"no word", "", []string{"a"}, ""},
		{"nobody", "x", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, suggest.Nearest(tc.word, tc.candidates))
		})
	}
}
