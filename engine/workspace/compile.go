package workspace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"nudge/events"
	"nudge/internal/suggest"
	"nudge/rules"
	"nudge/rules/yamlfile"
	"nudge/segments"
)

// compile compiles segments and rules.
func (l *loader) compile() {
	schema := segments.NewSchema(l.schemaOptions())
	for _, s := range l.segments {
		who, problems := segments.CompileSegment(s.Name, schema)
		for _, p := range problems {
			l.problem(p, s.WhenNode, s.Name)
		}
		if who != nil {
			l.ws.Segments = append(l.ws.Segments, Segment{Name: s.Name, About: s.About, When: s.When, File: s.File, Who: who})
		}
	}
	for _, r := range l.parsed {
		rulesBefore, findingsBefore := len(l.ws.Rules), len(l.findings)
		l.rule(r, schema)
		if l.over(r) {
			if rules.HasErrors(l.findings[findingsBefore:]) {
				l.ws.Rules = l.ws.Rules[:rulesBefore]
			}
			l.findings = l.findings[:findingsBefore]
		}
	}
}

// rule compiles what a rule says; one whose file has errors is compiled as far as it goes, for the
// findings.
func (l *loader) rule(r *rules.Rule, schema *segments.Schema) {
	out := &Rule{Rule: r}
	spec := segments.WhoSpec{When: r.When, ForEach: r.ForEach, SaysCreated: r.SaysCreated}
	if r.When == "" {
		spec.When = "true" // its absence has been found
	}
	if r.On != nil {
		spec.OnEvent, spec.OnWhere, spec.OnBy, spec.OnMaxAge = r.On.Event, r.On.Where, r.On.By, r.On.MaxAge.Milliseconds()
	}
	for _, w := range r.With {
		spec.With = append(spec.With, segments.NamedExpr{Name: w.Name, Expr: w.Expr})
	}
	since := -1
	for i, x := range r.Exits {
		switch {
		case x.Since == "":
		case since < 0:
			since, spec.ExitSince = i, x.Since
		case x.Since != spec.ExitSince:
			f := r.Source[exitPart(r, i)+".since"].Finding("rule/not-yet", "exits of one rule have one `since`")
			f.Detail, f.Rule = "Give all of them the same, or leave it out but for one.", r.Name
			l.add(f)
		}
	}
	if spec.ExitSince == "" && len(r.Exits) > 0 && r.ForEach != "" {
		spec.ExitSince = "it.last.at"
	}
	who, problems := segments.Compile(spec, schema)
	for _, p := range problems {
		part := p.Part
		switch {
		case part == "exit.since" && since >= 0:
			part = exitPart(r, since) + ".since"
		case part == "on.event":
			part = "on"
		}
		l.problem(p, r.Source[part], r.Name, r.Source["rule"])
	}
	out.Who = who
	for i, x := range r.Exits {
		part := exitPart(r, i)
		l.event(x.Event, r.Source[part], r.Name)
		out.Exits = append(out.Exits, Exit{x.Event, l.filter(x.Where, x.Event, segments.FilterEntry, schema, r, part+".where")})
	}
	if g := r.Goal; g != nil {
		l.event(g.Event, r.Source["goal"], r.Name)
		l.property(g, r)
		out.Goal = &Goal{g.Event, l.filter(g.Where, g.Event, segments.FilterEntry, schema, r, "goal.where"), g.Within, g.Value}
	}
	if who != nil {
		l.ws.Rules = append(l.ws.Rules, out)
	}
}

// exitPart is the name of the rule's i-th exit among its parts.
func exitPart(r *rules.Rule, i int) string {
	if r.Source["exit"] != nil || r.Source["exit.where"] != nil || r.Source["exit.since"] != nil {
		return "exit"
	}
	return fmt.Sprintf("exit[%d]", i)
}

func (l *loader) filter(src, event string, scope segments.FilterScope, schema *segments.Schema, r *rules.Rule, part string) *segments.Pred {
	if src == "" {
		return nil
	}
	pred, problems := segments.CompileFilter(src, schema, event, scope)
	for _, p := range problems {
		l.problem(p, r.Source[part], r.Name, r.Source["rule"])
	}
	return pred
}

// problem makes a finding of a compiler's problem in the text of a node; without the node it is
// about the rule as a whole.
func (l *loader) problem(p segments.Problem, at *yamlfile.Node, rule string, instead ...*yamlfile.Node) {
	var f rules.Finding
	switch {
	case at != nil:
		f = at.FindingIn(p.From, p.To, p.ID, fragment(p.Summary))
	case len(instead) > 0 && instead[0] != nil:
		f = instead[0].Finding(p.ID, fmt.Sprintf("%s: %s", p.Part, fragment(p.Summary)))
	default:
		f = rules.Finding{Check: p.ID, Severity: rules.Error, File: ConfigFile, Summary: fragment(p.Summary)}
	}
	f.Rule, f.Detail, f.Suggest = rule, p.Detail, p.Suggest
	if p.Warning {
		f.Severity = rules.Warning
	}
	l.add(f)
}

// fragment makes a sentence read as the other findings do: no capital, no full stop.
func fragment(s string) string {
	s = strings.TrimSuffix(s, ".")
	first, n := utf8.DecodeRuneInString(s)
	second, _ := utf8.DecodeRuneInString(s[n:])
	if unicode.IsUpper(first) && !unicode.IsUpper(second) {
		s = string(unicode.ToLower(first)) + s[n:]
	}
	return s
}

// stored are the events that exist without being declared.
var stored = append([]string{"Page Viewed", "Screen Viewed", events.LocationUpdated}, events.MessageEvents()...)

// event checks the name of an event that no expression holds, as the compiler does for those in one:
// an error where a declared one is nearly the same, else a warning.
func (l *loader) event(name string, at *yamlfile.Node, rule string) {
	plan := l.ws.Plan
	if name == "" || name == "*" || at == nil || plan == nil || len(plan.Events) == 0 || slices.Contains(stored, name) {
		return
	}
	if _, ok := plan.Events[name]; ok {
		return
	}
	f := at.Finding("expr/unknown-event", fmt.Sprintf("the tracking plan has no event %q", name))
	f.Rule = rule
	f.Suggest = suggest.Nearest(name, slices.Concat(stored, slices.Collect(maps.Keys(plan.Events))))
	if f.Suggest == "" {
		f.Severity, f.Detail = rules.Warning, "Declare it in events.yaml if apps send it."
	}
	l.add(f)
}

// property checks the amount of a goal.
func (l *loader) property(g *rules.Goal, r *rules.Rule) {
	at := r.Source["goal.value"]
	path, ok := strings.CutPrefix(g.Value, "properties.")
	if !ok || at == nil || l.ws.Plan == nil {
		return
	}
	d, declared := l.ws.Plan.Events[g.Event]
	if !declared || len(d.Properties) == 0 {
		return
	}
	p, found := d.Properties[path]
	if !found {
		f := at.Finding("expr/unknown-property", fmt.Sprintf("%q declares no property %q", g.Event, path))
		f.Rule = r.Name
		f.Suggest = suggest.Nearest(path, slices.Collect(maps.Keys(d.Properties)))
		if f.Suggest == "" {
			f.Severity, f.Detail = rules.Warning, "Declare it in events.yaml."
		}
		l.add(f)
		return
	}
	switch p.Type {
	case events.TypeNumber, events.TypeInteger, events.TypeDecimal, events.Untyped:
	case events.TypeString, events.TypeBoolean, events.TypeTime, events.TypeArray, events.TypeObject:
		f := at.Finding("expr/type", fmt.Sprintf("%q is not declared as a number", path))
		f.Rule, f.Detail = r.Name, "The value of a goal is an amount."
		l.add(f)
	}
}
