package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"nudge/rules/yamlfile"
)

// hash names the content of a file: comments, layout (of conditions also blanks at the ends of lines), quoting and the
// order of keys do not count, except below `with`, `message` and `variants`, where order means something. Keys in without, at the
// top, do not count either.
func hash(root *yamlfile.Node, files []string, without ...string) string {
	h := sha256.New()
	writeNode(h, root, false, false, without)
	for _, f := range files {
		fmt.Fprintf(h, "%q", f)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func hashOfMessage(root *yamlfile.Node, files []string) string {
	var others []string
	for _, p := range root.Pairs {
		if p.Key.Text != "message" && p.Key.Text != "variants" {
			others = append(others, p.Key.Text)
		}
	}
	return hash(root, files, others...)
}

var (
	ordered = []string{"with", "message", "variants"}
	texts   = []string{"message", "variants"} // in which every blank counts
)

func writeNode(w io.Writer, n *yamlfile.Node, keepOrder, exact bool, without []string) {
	switch n.Kind {
	case yamlfile.Map:
		pairs := slices.Clone(n.Pairs)
		if !keepOrder {
			slices.SortFunc(pairs, func(a, b yamlfile.Pair) int { return strings.Compare(a.Key.Text, b.Key.Text) })
		}
		fmt.Fprint(w, "{")
		for _, p := range pairs {
			if !slices.Contains(without, p.Key.Text) {
				fmt.Fprintf(w, "%q:", p.Key.Text)
				writeNode(w, p.Value, keepOrder || slices.Contains(ordered, p.Key.Text), exact || slices.Contains(texts, p.Key.Text), nil)
			}
		}
		fmt.Fprint(w, "}")
	case yamlfile.List:
		fmt.Fprint(w, "[")
		for _, item := range n.Items {
			writeNode(w, item, keepOrder, exact, nil)
			fmt.Fprint(w, ",")
		}
		fmt.Fprint(w, "]")
	default:
		text := n.Text
		if !exact {
			text = yamlfile.WithoutTrailing(text)
		}
		fmt.Fprintf(w, "%d%q", n.Kind, strings.TrimSpace(text))
	}
}
