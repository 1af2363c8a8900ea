package segments

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseList(t *testing.T) {
	for _, c := range []struct {
		name, src string
		want      []string
		err       string
	}{
		{"lines", "ann\nbob\n", []string{"ann", "bob"}, ""},
		{"windows", "\ufeffann\r\nbob", []string{"ann", "bob"}, ""},
		{"comments, blanks, commas, twice", "# friends\n\n  bob ,\nann\nbob\n", []string{"ann", "bob"}, ""},
		{"blanks within", "Ann Lee", []string{"Ann Lee"}, ""},
		{"nothing", "\n", nil, ""},
		{"not UTF-8", "ann\n\xff\n", nil, "line 2 is not UTF-8"},
		{"no list", strings.Repeat("x", 1025), nil, "line 1 has 1025 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := ParseList([]byte(c.src))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, l.Values())
			require.Equal(t, len(c.want), l.Len())
		})
	}
}

// listSchema has a list of three people and one of many.
func listSchema(t testing.TB) *Schema {
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, "u%06d\n", i)
	}
	files := map[string]string{"few.txt": "ann\nbob\ncyd\n", "many.txt": many.String(), "none.txt": "# nobody\n", "again.txt": "cyd,\nbob\nann"}
	return NewSchema(SchemaOptions{List: func(path string) (*List, error) {
		src, ok := files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return ParseList([]byte(src))
	}})
}

func TestListsInConditions(t *testing.T) {
	schema := listSchema(t)
	for _, c := range []struct {
		when, id string
		want     Truth
		pred     string
	}{
		{`user.id in list("few.txt")`, "bob", True, `user.id:string in ["ann", "bob", "cyd"]`},
		{`user.id in list("few.txt")`, "zoe", False, ""},
		{`user.id in list("few.txt")`, "", Unknown, ""},
		{`user.id not in list("few.txt")`, "bob", False, `has(user.id:string)`},
		{`user.id not in list("few.txt")`, "zoe", True, ""},
		{`user.id not in list("few.txt")`, "", Unknown, ""},
		{`user.id in list("many.txt")`, "u099999", True, `has(user.id:string)`},
		{`user.id in list("many.txt")`, "u100000", False, ""},
		{`user.id in list("few.txt") ? true : user.id in list("many.txt")`, "u000000", True, ""},
		{`any(["x", "bob"], # in list("few.txt")) and user.id != nil`, "zoe", True, ""},
		{`let list = ["zoe"]; user.id in list`, "zoe", True, ""},
	} {
		t.Run(c.when+" "+c.id, func(t *testing.T) {
			w, problems := Compile(WhoSpec{When: c.when}, schema)
			require.False(t, HasErrors(problems), "%v", problems)
			candidate := &Candidate{Profile: &Profile{UserID: c.id}}
			truth, err := w.Judge(now, candidate)
			require.NoError(t, err)
			require.Equal(t, c.want, truth)
			if truth == True {
				require.True(t, w.Passes(now, candidate), "%s", w.Prefilter())
			}
			if c.pred != "" {
				require.Equal(t, c.pred, w.Prefilter().String())
			}
		})
	}
}

// A condition is another one when what is in its list changes, and only then.
func TestListsAreHashed(t *testing.T) {
	schema := listSchema(t)
	hash := func(when string) string {
		w, problems := Compile(WhoSpec{When: when}, schema)
		require.False(t, HasErrors(problems), "%v", problems)
		return w.Hash()
	}
	require.Equal(t, hash(`user.id in list("few.txt")`), hash(`user.id in list("again.txt")`))
	require.NotEqual(t, hash(`user.id in list("few.txt")`), hash(`user.id in list("many.txt")`))
}

func TestListProblems(t *testing.T) {
	schema := listSchema(t)
	for _, c := range []struct{ when, id, summary string }{
		{`user.id in list("fwe.txt")`, idList, `The list "fwe.txt" cannot be read: file does not exist.`},
		{`user.id in list("none.txt")`, idNeverTrue, `Nothing is in the list "none.txt".`},
		{`user.id in list(user.traits.x)`, idLiteral, ""},
		{`user.id in list()`, idArguments, ""},
		{`list("few.txt")`, idList, "A list of a file stands only after `in`."},
		{`len(list("few.txt")) > 3`, idList, ""},
		{`user.created_at in list("few.txt")`, idType, ""},
		{`event("A", 'properties.id in list("few.txt")').count > 0`, idFilter, ""},
	} {
		t.Run(c.when, func(t *testing.T) {
			_, problems := Compile(WhoSpec{When: c.when}, schema)
			require.Len(t, problems, 1)
			require.Equal(t, c.id, problems[0].ID)
			if c.summary != "" {
				require.Equal(t, c.summary, problems[0].Summary)
			}
		})
	}
}

func BenchmarkList(b *testing.B) {
	w, problems := Compile(WhoSpec{When: `user.id in list("many.txt")`}, listSchema(b))
	if HasErrors(problems) {
		b.Fatal(errors.New("it does not compile"))
	}
	c := &Candidate{Profile: &Profile{UserID: "u050000"}}
	for b.Loop() {
		if truth, _ := w.Judge(now, c); truth != True {
			b.Fatal(truth)
		}
	}
}
