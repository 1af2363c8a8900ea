package segments

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type example struct{ kind, source string }

// examplesOf reads the ```expr blocks of a page; examples in a block are apart by an empty line.
func examplesOf(t *testing.T, file string) (page string, out []example) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	page = string(b)
	for i, part := range strings.Split(page, "```") {
		if i%2 == 0 {
			continue
		}
		head, body, _ := strings.Cut(part, "\n")
		kind, ok := strings.CutPrefix(head, "expr")
		require.True(t, ok, "a block that is not expr: %s", head)
		for src := range strings.SplitSeq(strings.TrimSpace(body), "\n\n") {
			out = append(out, example{strings.TrimSpace(kind), src})
		}
	}
	return page, out
}

func TestEveryExampleOfThePage(t *testing.T) {
	page, examples := examplesOf(t, "../docs/language.md")
	require.Greater(t, len(examples), 60)
	cart := WhoSpec{ForEach: `event("Product Added").by("cart_id")`, When: "true"}
	for _, e := range examples {
		t.Run(e.source, func(t *testing.T) {
			spec, want, plan := WhoSpec{When: e.source}, "", ""
			switch kind, arg, _ := strings.Cut(e.kind, " "); kind {
			case "":
			case "error":
				want = arg
			case "incremental", "full":
				plan = kind
			case "it":
				spec.ForEach = cart.ForEach
			case "for_each":
				spec = WhoSpec{ForEach: e.source, When: "it.count > 0"}
			case "trigger":
				spec.OnEvent = "Parcel Delivered"
			case "with":
				spec = cart
				spec.With = []NamedExpr{{"x", e.source}}
			case "since":
				spec = cart
				spec.ExitSince = e.source
			case "filter":
				scope := FilterPlain
				if arg == "entry" {
					scope = FilterEntry
				}
				p, problems := CompileFilter(e.source, testSchema(), "Product Added", scope)
				require.Empty(t, problems)
				require.NotNil(t, p)
				return
			default:
				t.Fatalf("unknown kind %q", kind)
			}
			w, problems := Compile(spec, testSchema())
			if want != "" {
				require.Len(t, problems, 1)
				require.Equal(t, want, problems[0].ID)
				return
			}
			require.Empty(t, problems)
			require.NotNil(t, w.Prefilter())
			if plan != "" {
				require.Equal(t, plan == "full", len(w.Changes().Full) > 0)
			}
		})
	}
	for _, id := range []string{
		idSyntax, idTooLarge, idType, idName, idFunction, idArguments, idField, idEvent, idProperty, idTrait, idSegment, idList, idCircle, idBroken, idRule, idFence,
		idHistoryCall, idClosure, idScope, idLiteral, idConstant, idRegexp, idFilter, idNotBoolean, idNeverTrue, idAlwaysTrue, idGoal, idDefinedTwice,
	} {
		require.Contains(t, page, "| `"+id+"` |")
	}
	for name := range functions {
		require.Contains(t, page, name, "the page does not name the function")
	}
}
