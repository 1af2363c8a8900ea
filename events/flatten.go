package events

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
)

// Everything in this file reads JSON in the normal form that scan.go makes: valid, without white
// space. On anything else the results mean nothing, but nothing panics.

// LeafKind says what a Leaf holds.
type LeafKind uint8

// Kinds of leaves. A null, an array and an empty object are no leaves.
const (
	LeafString LeafKind = iota + 1
	LeafFloat
	LeafInt
	LeafBool
)

// Leaf is a value that is neither an object nor an array.
type Leaf struct {
	Kind LeafKind
	Str  string  // LeafString, decoded
	Num  float64 // LeafFloat and LeafInt
	Int  int64   // LeafInt
	Bool bool    // LeafBool
}

// Flatten visits the leaves of normalised properties under their dotted paths, in their order: a
// string, a float64, an int64 (a number written without point and exponent) or a bool. Arrays and
// nulls are left out. Strings are copies.
func Flatten(properties json.RawMessage, visit func(path string, value any)) {
	var f Flattener
	f.Walk(properties, func(path string, v Leaf) {
		switch v.Kind {
		case LeafString:
			visit(path, v.Str)
		case LeafFloat:
			visit(path, v.Num)
		case LeafInt:
			visit(path, v.Int)
		case LeafBool:
			visit(path, v.Bool)
		}
	})
}

// Flattener is Flatten without an allocation for each path and value: paths are remembered from one
// call to the next. It is for one goroutine.
type Flattener struct {
	// Lend saves a copy of each string: Leaf.Str is valid during the visit only.
	Lend bool

	text  []byte
	path  []byte
	paths map[string]string
}

// maxPaths bounds what a Flattener remembers, against senders that put ids into keys.
const maxPaths = 4096

// Walk visits the leaves as Flatten does. Strings are copies and may be kept, unless Lend is set.
func (f *Flattener) Walk(properties json.RawMessage, visit func(path string, v Leaf)) {
	f.path = f.path[:0]
	f.object(properties, false, visit)
}

func (f *Flattener) object(b []byte, nested bool, visit func(string, Leaf)) {
	base := len(f.path)
	members(b, func(key, value []byte) bool {
		f.path = f.path[:base]
		if nested { // not base > 0: a key may be empty
			f.path = append(f.path, '.')
		}
		f.path = appendDecoded(f.path, key)
		if value[0] == '{' {
			f.object(value, true, visit)
		} else if value[0] == '"' && f.Lend {
			visit(f.intern(), Leaf{Kind: LeafString, Str: f.lent(value)})
		} else if leaf, ok := LeafOf(value); ok {
			visit(f.intern(), leaf)
		}
		return true
	})
	f.path = f.path[:base]
}

// lent is the text of a string token, where it stands if it has no escapes.
func (f *Flattener) lent(token []byte) string {
	if len(token) < 2 {
		return ""
	}
	in := token[1 : len(token)-1]
	if bytes.IndexByte(in, '\\') < 0 {
		return view(in)
	}
	f.text = appendDecoded(f.text[:0], in)
	return view(f.text)
}

func (f *Flattener) intern() string {
	if p, ok := f.paths[string(f.path)]; ok {
		return p
	}
	if f.paths == nil || len(f.paths) >= maxPaths {
		f.paths = make(map[string]string)
	}
	p := string(f.path)
	f.paths[p] = p
	return p
}

// LeafOf decodes a token of normalised JSON. It reports false for objects, arrays and null.
func LeafOf(token []byte) (Leaf, bool) {
	if len(token) == 0 {
		return Leaf{}, false
	}
	switch token[0] {
	case '"':
		return Leaf{Kind: LeafString, Str: decoded(token)}, true
	case 't', 'f':
		return Leaf{Kind: LeafBool, Bool: token[0] == 't'}, true
	case '{', '[', 'n':
		return Leaf{}, false
	}
	if i, ok := integer(token); ok {
		return Leaf{Kind: LeafInt, Int: i, Num: float64(i)}, true
	}
	f, err := strconv.ParseFloat(view(token), 64)
	if err != nil || math.IsInf(f, 0) {
		return Leaf{}, false
	}
	return Leaf{Kind: LeafFloat, Num: f}, true
}

// integer reads a number token without point and exponent.
func integer(token []byte) (int64, bool) {
	for _, c := range token {
		if c != '-' && (c < '0' || c > '9') {
			return 0, false
		}
	}
	i, err := strconv.ParseInt(view(token), 10, 64)
	return i, err == nil
}

// decoded is the text of a string token, as a copy.
func decoded(token []byte) string {
	if len(token) < 2 {
		return ""
	}
	in := token[1 : len(token)-1]
	if slices.Contains(in, '\\') {
		return string(appendDecoded(make([]byte, 0, len(in)), in))
	}
	return string(in)
}

// Lookup finds the value under a path of keys in a normalised object, as its JSON token. The path
// is one of nested keys; a key that itself holds a dot is one key.
func Lookup(object json.RawMessage, path ...string) (json.RawMessage, bool) {
	for _, want := range path {
		var found []byte
		members(object, func(key, value []byte) bool {
			if string(key) == want {
				found = value
			}
			return found == nil
		})
		if found == nil {
			return nil, false
		}
		object = found
	}
	return object, len(object) > 0
}

// lookupString is Lookup of a string, decoded; "" if there is none.
func lookupString(object json.RawMessage, path ...string) string {
	v, ok := Lookup(object, path...)
	if !ok || v[0] != '"' {
		return ""
	}
	return decoded(v)
}

// members visits the members of a normalised object: the inside of the key's quotes, and the value's
// token. It stops when visit says false.
func members(b []byte, visit func(key, value []byte) bool) {
	if len(b) < 2 || b[0] != '{' {
		return
	}
	for i := 1; i < len(b) && b[i] == '"'; i++ {
		end := endOfString(b, i)
		if end+1 >= len(b) {
			return
		}
		key := b[i+1 : end-1]
		stop := endOfValue(b, end+1)
		if !visit(key, b[end+1:stop]) {
			return
		}
		i = stop
	}
}

// items visits the elements of a normalised array.
func items(b []byte, visit func(value []byte)) {
	if len(b) < 3 || b[0] != '[' {
		return
	}
	for i := 1; i < len(b)-1; i++ {
		stop := endOfValue(b, i)
		visit(b[i:stop])
		i = stop
	}
}

// endOfString is the index after the closing quote of the string that opens at i.
func endOfString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return len(b)
}

// endOfValue is the index after the value that begins at i; it is greater than i.
func endOfValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return endOfString(b, i)
	case '{', '[':
		for depth := 0; i < len(b); {
			switch b[i] {
			case '"':
				i = endOfString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(b)
	}
	for i++; i < len(b); i++ {
		switch b[i] {
		case ',', '}', ']':
			return i
		}
	}
	return i
}

// collisions refuses an object in which two members have the same dotted path, or in which a path is
// a value here and an object there. Only keys that hold a dot themselves can do so.
func collisions(object []byte) error {
	const leaf, branch = 1, 2
	seen := map[string]int{}
	var path []byte
	var clash error
	var visit func(b []byte, nested bool)
	mark := func(p []byte, what int) {
		if seen[string(p)] |= what; clash == nil && seen[string(p)] == leaf|branch {
			clash = &RefusedError{Path: string(p), Reason: "is a value and also holds other values (a key with a dot collides with a nested one)"}
		}
	}
	visit = func(b []byte, nested bool) {
		base := len(path)
		members(b, func(key, value []byte) bool {
			path = path[:base]
			if nested {
				path = append(path, '.')
			}
			from := len(path)
			path = appendDecoded(path, key)
			for i := from; i < len(path); i++ {
				if path[i] == '.' {
					mark(path[:i], branch)
				}
			}
			if value[0] == '{' {
				mark(path, branch)
				visit(value, true)
			} else {
				if seen[string(path)]&leaf != 0 && clash == nil {
					clash = &RefusedError{Path: string(path), Reason: "stands twice (a key with a dot collides with a nested one)"}
				}
				mark(path, leaf)
			}
			return clash == nil
		})
		path = path[:base]
	}
	visit(object, false)
	return clash
}
