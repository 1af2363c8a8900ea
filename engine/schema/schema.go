// Package schema describes the files of a workspace as JSON Schemas (draft 7, which editors know), so that
// an editor completes keys, shows what they mean and marks what is wrong while somebody types. What a
// schema cannot say (what an expression means, that a channel exists) is left to nudge check, which
// has the last word: whatever it accepts the schemas accept.
package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Kind is a kind of file.
type Kind struct {
	Name  string // "rule"
	Files string // which files of a workspace it is about, a glob
	About string
	make  func() object
}

// Kinds are all kinds of file.
func Kinds() []Kind {
	return []Kind{
		{"rule", "rules/**/*.yaml", "who gets which message, and when", rule},
		{"segment", "segments/**/*.yaml", "a condition with a name", segment},
		{"events", "events.yaml", "the tracking plan: which events and traits apps send", events},
		{"workspace", "nudge.yaml", "channels, caps, quiet hours, store", workspace},
		{"test", "tests/**/*.yaml", "what rules do when people do something", test},
	}
}

// Of is the schema of a kind, as JSON.
func Of(name string) ([]byte, error) {
	i := slices.IndexFunc(Kinds(), func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no kind of file %q", name)
	}
	k := Kinds()[i]
	s := k.make()
	s["$schema"], s["title"] = "http://json-schema.org/draft-07/schema#", "nudge: "+k.Name
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema of %s: %w", name, err)
	}
	return append(text, '\n'), nil
}

// object is a schema.
type object = map[string]any

// is adds what a value is for.
func is(s object, about string) object {
	out := object{"description": about}
	maps.Copy(out, s)
	return out
}

func text() object                 { return object{"type": "string", "pattern": `\S`} }
func truth() object                { return object{"type": "boolean"} }
func number() object               { return object{"type": "number"} }
func whole(low, high int) object   { return object{"type": "integer", "minimum": low, "maximum": high} }
func oneOf(words ...string) object { return object{"enum": words} }
func anyOf(some ...object) object  { return object{"anyOf": some} }
func nothing() object              { return object{"type": "null"} }

func listOf(item object) object { return object{"type": "array", "items": item} }

// expression is a condition or a value of the language.
func expression() object { return text() }

// duration is "1h30m".
func duration() object {
	return object{"type": "string", "pattern": `^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$`, "minLength": 2, "examples": []string{"30m", "24h", "7d"}}
}

func percent() object {
	return object{"type": "string", "pattern": `^\s*(100(\.0*)?|[0-9]{1,2}(\.[0-9]+)?)\s*%$`, "examples": []string{"5%"}}
}

// date is a date, a date and a time, or an instant with an offset.
func date() object {
	return object{"type": "string", "pattern": `^\s*\d{4}-\d{2}-\d{2}`, "examples": []string{"2026-12-24", "2026-12-24 09:00"}}
}

func timeOfDay() object {
	return object{"type": "string", "pattern": `^([01][0-9]|2[0-3]):[0-5][0-9]$`, "examples": []string{"09:00"}}
}

func zone() object {
	return object{"type": "string", "examples": []string{"person", "workspace", "Europe/Berlin"}, "pattern": `\S`}
}

// locale is a BCP 47 tag of language, script and region, in its canonical form.
func locale() object {
	return object{"type": "string", "pattern": localePattern, "examples": []string{"de", "pt-BR", "zh-Hant"}}
}

const localePattern = `^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$`

// name is of rules and segments.
func name() object { return object{"type": "string", "pattern": `^[a-z0-9][a-z0-9_-]{0,99}$`} }

// keys is a set of keys, some of them required; any other is wrong.
func keys(of object, required ...string) object {
	s := object{"type": "object", "properties": of, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func requires(keys ...string) object { return object{"required": keys} }

// named is a set of keys that the author chooses.
func named(value object) object { return object{"type": "object", "additionalProperties": value} }

// some is one or a list of them.
func some(s object) object { return anyOf(s, listOf(s)) }

func silence() object {
	return is(listOf(keys(object{
		"check":  is(text(), "The id that stands in brackets behind the finding."),
		"reason": is(text(), "Why, for whoever reads the file next."),
		"until":  is(object{"type": "string", "pattern": `^\d{4}-\d{2}-\d{2}$`}, "The last day; then the finding is back."),
	}, "check", "reason")), "Findings of nudge check about this file that are meant to be.")
}
