// Package sms is what the adapters of text messages share: numbers, and how many messages a text is.
package sms

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"nudge/channels"
)

// Default is how many messages a text may be where the config does not say.
const Default = 3

// Most is how many it can be allowed: providers refuse texts of more than 1600 characters.
const Most = 10

// Unit is what the limit counts.
const Unit = "segments"

// LimitField is the name of the config's field for the limit.
const LimitField = "max_segments"

// Limit is the config's field for how long a text may be.
func Limit() channels.Field {
	return channels.Field{
		Name: LimitField, Type: "int", Default: strconv.Itoa(Default), Example: "1",
		About: fmt.Sprintf("how many text messages one may become, 1 to %d; a longer one is refused. 160 characters are one and then each 153; with a character outside the GSM alphabet (an emoji, a curly quote) 70 and then each 67", Most),
	}
}

// CheckLimit says what is wrong with a limit.
func CheckLimit(n int) error {
	if n < 1 || n > Most {
		return channels.Problem{Field: LimitField, Summary: fmt.Sprintf("is not 1 to %d", Most)}
	}
	return nil
}

// Fields are the message fields that every text message has.
func Fields() []channels.Field {
	return []channels.Field{
		{Name: "text", Type: "string", Required: true, Template: true, Text: true, Example: "Your order {{ order }} has left. Follow it: https://shop.example/o", About: "the text; white space around it is cut off"},
		{Name: "from", Type: "string", Template: true, Example: "Shop", About: "the sender instead of the config's: a number as +14155550100, or letters and digits where the country allows them"},
	}
}

// Read is whom a message goes to, as providers want the number, and its text; limit is the config's.
func Read(m *channels.Message, limit int) (number, text string, err error) {
	if number, err = Number(m.Address.Phone); err != nil {
		return "", "", err
	}
	text, err = Text(m, limit)
	return number, text, err
}

// Text is the text of a message, which must be there and within the limit.
func Text(m *channels.Message, limit int) (string, error) {
	text, err := textOf(m)
	if err != nil {
		return "", err
	}
	if n := Segments(text); n > limit {
		err = fmt.Errorf("it takes %d text messages, and %s is %d", n, LimitField, limit)
		if r, found := foreign(text); found {
			err = fmt.Errorf("%w: %q is not in the GSM alphabet, which leaves room for 67 characters in each instead of 153", err, r)
		}
		return "", refused("too_long", err)
	}
	return text, nil
}

// Measure is how many text messages a message takes; it is a Spec.Measure.
func Measure(m *channels.Message) (int, error) {
	text, err := textOf(m)
	if err != nil {
		return 0, err
	}
	return Segments(text), nil
}

func textOf(m *channels.Message) (string, error) {
	text := strings.TrimSpace(m.Text("text"))
	if text == "" {
		return "", refused("field", errors.New("the field text is empty"))
	}
	return text, nil
}

func refused(code string, err error) error {
	return &channels.DeliveryError{Class: channels.ClassMessage, Code: code, Err: err}
}

// e164 is the form of numbers that providers take.
var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// separators are what people put into numbers.
var separators = strings.NewReplacer(" ", "", "\u00a0", "", "-", "", ".", "", "/", "", "(", "", ")", "")

// Number is a person's number as providers want it (E.164). Separators are dropped; a number without
// its country is refused, and so is one with the (0) of another country's habit, which would be called wrongly.
func Number(phone string) (string, error) {
	number := separators.Replace(strings.TrimSpace(phone))
	if !e164.MatchString(number) || strings.Contains(phone, "(0)") {
		return "", &channels.DeliveryError{Class: channels.ClassAddress, Code: "not_e164", Err: errors.New("the phone number is not one with a country's prefix, as +14155550100")}
	}
	return number, nil
}

// IsNumber says whether a sender is a number.
func IsNumber(sender string) bool { return e164.MatchString(sender) }

// Short shortens a number for logs and people: the country and the end.
func Short(number string) string {
	if len(number) < 8 {
		return "…"
	}
	return number[:3] + "…" + number[len(number)-2:]
}

// Hidden are the forms of a message's numbers that no error may contain: as the workspace has it, as it was sent,
// and without the + as an encoded form has it.
func Hidden(m *channels.Message, number string) []string {
	return []string{m.Address.Phone, number, strings.TrimPrefix(number, "+")}
}
