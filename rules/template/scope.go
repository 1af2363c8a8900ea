package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"nudge/events"
	"nudge/internal/suggest"
)

// Names that every template may use, beside those of the rule's `with`.
const (
	rootUser    = "user"
	rootMessage = "message"
)

var (
	roots         = []string{rootUser, rootMessage}
	userFields    = []string{"id", "anonymous_id", "created_at", "timezone", "locale", "traits"}
	messageFields = []string{"rule", "channel", "variant", "category", "value", "at", "unsubscribe_link"}
)

// Scope is what a template may name.
type Scope struct {
	// With are the names of the rule's `with`.
	With []string
	// Plan declares the traits; nil, or one that declares none, allows every trait.
	Plan *events.Plan
	// WithoutLinks says that there is no address of ours that a link could lead to.
	WithoutLinks bool
}

// Check finds the names that the scope does not have.
func (t *Template) Check(s Scope) []Problem {
	var out []Problem
	for _, v := range t.vars {
		if p, bad := s.check(v); bad {
			out = append(out, p)
		}
	}
	return out
}

func (s Scope) check(v Var) (Problem, bool) {
	root, rest, dotted := strings.Cut(v.Path, ".")
	problem := func(id, summary, detail, suggest string) (Problem, bool) {
		return Problem{v.From, v.To, id, summary, detail, suggest, false}, true
	}
	if slices.Contains(s.With, root) {
		return Problem{}, false
	}
	fields := userFields
	switch root {
	case rootUser:
	case rootMessage:
		fields = messageFields
	default:
		near := suggest.Nearest(root, slices.Concat(s.With, roots))
		if s.Plan != nil && near == "" {
			if _, declared := s.Plan.Traits[v.Path]; declared {
				near = "user.traits." + v.Path
			}
		}
		return problem("template/unknown-name", fmt.Sprintf("%q is not a name of this rule's `with`", root),
			"A message may use the names of `with`, user.… and message.…: add the value to `with`.", near)
	}
	field, trait, hasTrait := strings.Cut(rest, ".")
	switch {
	case !dotted || root == rootUser && field == "traits" && !hasTrait:
		return problem("template/group", fmt.Sprintf("%q is a group of values", v.Path), "Name one of them.", "")
	case !slices.Contains(fields, field):
		return problem("template/unknown-name", fmt.Sprintf("%s has no %q", root, field),
			fmt.Sprintf("It has %s.", strings.Join(fields, ", ")), suggest.Nearest(field, fields))
	case root == rootUser && field == "traits":
		return s.trait(v, trait)
	case s.WithoutLinks && v.Path == "message.unsubscribe_link":
		return problem("template/no-base-url", "there is no link to unsubscribe", "It leads to nudge's own page: say in nudge.yaml at which address people reach it, `base_url: https://go.shop.example`.", "")
	}
	return Problem{}, false
}

func (s Scope) trait(v Var, trait string) (Problem, bool) {
	if s.Plan == nil || len(s.Plan.Traits) == 0 {
		return Problem{}, false
	}
	// A declared object has whatever is in it.
	for path := trait; path != ""; {
		if _, ok := s.Plan.Traits[path]; ok {
			return Problem{}, false
		}
		dot := strings.LastIndexByte(path, '.')
		if dot < 0 {
			break
		}
		path = path[:dot]
	}
	for path := range s.Plan.Traits {
		if strings.HasPrefix(path, trait+".") {
			return Problem{}, false
		}
	}
	// As in conditions: an error where a declared one is nearly the same, else a warning.
	near := suggest.Nearest(trait, slices.Collect(maps.Keys(s.Plan.Traits)))
	return Problem{
		v.From, v.To, "template/unknown-trait", fmt.Sprintf("the trait %q is not declared", trait),
		"Declare it under `traits` in events.yaml.", near, near == "",
	}, true
}
