package segments

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// emitter turns our tree into programs for expr's VM, and collects what they ask of the planner.
//
// A truth is compiled twice: into what makes it definitely true and into what makes it definitely
// false. `not` swaps the two, `and` and `or` are expr's own, and a comparison with a missing or
// wrongly typed side is neither; so two-valued code answers Kleene's logic.
type emitter struct {
	features []Feature
	index    map[string]int
	places   []PlaceRef
	count    int // nodes emitted, for the limit
}

var errTooLarge = errors.New("the condition becomes too large when its names, segments and closures are expanded")

var (
	boolType = reflect.TypeFor[bool]()
	anyType  = reflect.TypeFor[any]()
	listType = reflect.TypeFor[[]any]()
)

func (e *emitter) featureIndex(f *Feature) int {
	k := f.Key()
	i, ok := e.index[k]
	if !ok {
		if e.index == nil {
			e.index = map[string]int{}
		}
		i = len(e.features)
		e.index[k] = i
		e.features = append(e.features, *f)
	}
	return i
}

func (e *emitter) placeIndex(p *PlaceRef) int {
	for i := range e.places {
		if e.places[i] == *p {
			return i
		}
	}
	e.places = append(e.places, *p)
	return len(e.places) - 1
}

// program compiles a tree for the VM.
func (e *emitter) program(n ast.Node) (p *vm.Program, err error) {
	c := conf.CreateNew()
	p, err = compiler.Compile(&parser.Tree{Node: n, Source: file.NewSource("")}, c)
	if err != nil {
		return nil, fmt.Errorf("compile for the VM: %w", err)
	}
	return p, nil
}

// emitTruth compiles a condition; e panics with errTooLarge beyond the limit, recovered by guard.
func (e *emitter) grow() {
	if e.count++; e.count > maxEmitted {
		panic(errTooLarge)
	}
}

// guard turns the panic of grow into an error.
func guard(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if r == errTooLarge { //nolint:errorlint // the very value that grow panics with
				err = errTooLarge
				return
			}
			panic(r)
		}
	}()
	return do()
}

func set[N ast.Node](n N, t reflect.Type) N {
	n.SetType(t)
	return n
}

func boolean(b bool) ast.Node { return set(&ast.BoolNode{Value: b}, boolType) }

func logical(operator string, a, b ast.Node) ast.Node {
	if k, ok := a.(*ast.BoolNode); ok {
		if k.Value == (operator == "or") {
			return a
		}
		return b
	}
	if k, ok := b.(*ast.BoolNode); ok && k.Value != (operator == "or") {
		return a
	}
	return set(&ast.BinaryNode{Operator: operator, Left: a, Right: b}, boolType)
}

// call makes a call of one of our functions, whose type is one that the VM calls without reflection.
func call(fn any, result reflect.Type, args ...ast.Node) ast.Node {
	callee := set(&ast.ConstantNode{Value: fn}, reflect.TypeOf(fn))
	return set(&ast.CallNode{Callee: callee, Arguments: args}, result)
}

func env() ast.Node { return set(&ast.IdentifierNode{Value: "$env"}, anyType) }

func elem() ast.Node { return set(&ast.PointerNode{}, anyType) }

// truth emits what makes n definitely true (want) or definitely false.
func (e *emitter) truth(n *node, want bool) ast.Node {
	e.grow()
	switch n.op {
	case opConst:
		return boolean(n.val == want)
	case opAnd, opOr:
		operator := "and"
		if (n.op == opOr) == want {
			operator = "or"
		}
		return logical(operator, e.truth(n.kids[0], want), e.truth(n.kids[1], want))
	case opNot:
		return e.truth(n.kids[0], !want)
	case opIf:
		c, a, b := n.kids[0], n.kids[1], n.kids[2]
		return logical("or", logical("and", e.truth(c, true), e.truth(a, want)), logical("and", e.truth(c, false), e.truth(b, want)))
	case opLoop:
		if n.isTruth() {
			return e.quantifier(n, want)
		}
	default:
	}
	return e.leaf(n, want)
}

func (e *emitter) leaf(n *node, want bool) ast.Node {
	if !needsVM(n) {
		t := e.test(n, want)
		if n.depth > 0 {
			return call(func(env, el any) bool {
				f := env.(*frame)
				f.step()
				return t(f, el)
			}, boolType, env(), elem())
		}
		return call(func(env any) bool { return t(env.(*frame), nil) }, boolType, env())
	}
	if !n.isTruth() {
		v := e.value(n)
		return call(func(v any) bool { return v == want }, boolType, v)
	}
	truth := e.truthOf(n, want)
	if len(n.kids) == 1 {
		return call(func(a any) bool { return truth([]any{a}) }, boolType, e.value(n.kids[0]))
	}
	return call(func(a, b any) bool { return truth([]any{a, b}) }, boolType, e.value(n.kids[0]), e.value(n.kids[1]))
}

// needsVM reports whether a leaf holds what only the VM evaluates.
func needsVM(n *node) bool {
	if !n.isTruth() {
		return n.vm
	}
	for _, k := range n.kids {
		if k.vm || k.isTruth() {
			return true
		}
	}
	return false
}

// value emits a value; a truth as a value is true, false or missing.
func (e *emitter) value(n *node) ast.Node {
	e.grow()
	if n.op == opConst {
		return set(&ast.ConstantNode{Value: n.val}, anyType)
	}
	if n.isTruth() {
		return e.choose(e.truth(n, true), boolean(true), e.choose(e.truth(n, false), boolean(false), missing()))
	}
	if !n.vm {
		l := e.load(n)
		if n.depth > 0 {
			return call(func(env, el any) any {
				f := env.(*frame)
				f.step()
				return l(f, el)
			}, anyType, env(), elem())
		}
		return call(func(env any) any { return l(env.(*frame), nil) }, anyType, env())
	}
	switch n.op {
	case opIf:
		return e.choose(e.truth(n.kids[0], true), e.value(n.kids[1]), e.choose(e.truth(n.kids[0], false), e.value(n.kids[2]), missing()))
	case opCoalesce:
		return set(&ast.BinaryNode{Operator: "??", Left: opaque(e.value(n.kids[0])), Right: opaque(e.value(n.kids[1]))}, anyType)
	case opLoop:
		return e.loop(n)
	case opIndex:
		return call(func(i any) any { return float64(i.(int)) }, anyType, set(&ast.PointerNode{Name: "index"}, anyType))
	default:
	}
	args := make([]ast.Node, len(n.kids))
	for i, k := range n.kids {
		args[i] = e.value(k)
	}
	apply := e.apply(n)
	return call(func(args ...any) any {
		own := append([]any(nil), args[1:]...) // the VM uses its buffer again
		return apply(args[0].(*frame), own)
	}, anyType, append([]ast.Node{env()}, args...)...)
}

func missing() ast.Node { return set(&ast.NilNode{}, anyType) }

// opaque keeps the compiler from dereferencing pointers to occurrences.
func opaque(n ast.Node) ast.Node {
	n.SetType(listType)
	return n
}

func (e *emitter) choose(c, a, b ast.Node) ast.Node {
	return set(&ast.ConditionalNode{Cond: c, Exp1: a, Exp2: b}, anyType)
}

// asList gives a loop its list: the elements, or nothing where there is no list.
func asList(v any) []any {
	l, _ := v.([]any)
	return l
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}

func (e *emitter) over(n *node) ast.Node {
	return call(asList, listType, e.value(n.kids[0]))
}

func (e *emitter) hasList(n *node) ast.Node {
	if !n.kids[0].maybe && n.kids[0].typ == typList {
		return boolean(true)
	}
	return call(isList, boolType, e.value(n.kids[0]))
}

func predicate(n ast.Node) ast.Node { return set(&ast.PredicateNode{Node: n}, anyType) }

func builtinNode(name string, t reflect.Type, args ...ast.Node) ast.Node {
	return set(&ast.BuiltinNode{Name: name, Arguments: args}, t)
}

// quantifier emits any, all, none and one. Over a missing list they are unknown.
func (e *emitter) quantifier(n *node, want bool) ast.Node {
	body := n.kids[1]
	each := func(name string, truth bool) ast.Node {
		return builtinNode(name, boolType, e.over(n), predicate(e.truth(body, truth)))
	}
	var out ast.Node
	switch {
	case n.name == "any" && want, n.name == "none" && !want:
		return each("any", true)
	case n.name == "any" && !want, n.name == "none" && want:
		out = each("all", false)
	case n.name == "all" && want:
		out = each("all", true)
	case n.name == "all" && !want:
		return each("any", false)
	case want: // exactly one is true and every other is false
		out = logical("and", e.exactly(n, "== 1", true), e.exactly(n, "others", false))
	default: // two are true, or none is and all are known to be false
		out = logical("or", e.exactly(n, ">= 2", true), each("all", false))
	}
	return logical("and", e.hasList(n), out)
}

// exactly counts the elements of which the body is definitely true (or false).
func (e *emitter) exactly(n *node, how string, truth bool) ast.Node {
	count := builtinNode("count", anyType, e.over(n), predicate(e.truth(n.kids[1], truth)))
	if how == "others" {
		return call(func(c, l any) bool { return c.(int) == len(asList(l))-1 }, boolType, count, e.value(n.kids[0]))
	}
	return call(func(c any) bool {
		k := c.(int)
		return how == "== 1" && k == 1 || how == ">= 2" && k >= 2
	}, boolType, count)
}

// lastHit is the last element that was hit, or its index.
func lastHit(l, hits []any, index bool) any {
	for i, hit := range slices.Backward(hits) {
		switch {
		case hit != true:
		case index:
			return float64(i)
		default:
			return l[i]
		}
	}
	return nil
}

// loop emits the builtins that give values. Predicates count where they are definitely true.
func (e *emitter) loop(n *node) ast.Node {
	list, body := e.over(n), n.kids[1]
	var out ast.Node
	switch n.name {
	case "map":
		out = builtinNode("map", listType, list, predicate(e.value(body)))
	case "sum":
		mapped := builtinNode("map", listType, list, predicate(e.value(body)))
		out = call(func(v any) any { return sumList(asList(v)) }, anyType, mapped)
	case "sortBy":
		dir := "asc"
		if len(n.kids) == 3 {
			dir = n.kids[2].val.(string)
		}
		mapped := builtinNode("map", listType, list, predicate(e.value(body)))
		out = call(func(l, by any) any { return sortBy(asList(l), asList(by), dir) }, anyType, e.over(n), mapped)
	case "findLast", "findLastIndex":
		// The VM's own leave values on the stack, where a call takes them for its arguments.
		hits := builtinNode("map", listType, list, predicate(e.truth(body, true)))
		index := n.name == "findLastIndex"
		out = call(func(l, hits any) any { return lastHit(asList(l), asList(hits), index) }, anyType, e.over(n), hits)
	case "filter", "find":
		out = builtinNode(n.name, anyType, list, predicate(e.truth(body, true)))
	default: // count, findIndex
		found := builtinNode(n.name, anyType, list, predicate(e.truth(body, true)))
		out = call(func(i any) any {
			if k, ok := i.(int); ok {
				return float64(k)
			}
			return nil
		}, anyType, found)
	}
	has := e.hasList(n)
	if b, ok := has.(*ast.BoolNode); ok && b.Value {
		return out
	}
	return e.choose(has, out, missing())
}
