package channels

import (
	"errors"
	"net/http"
	"time"
)

// What says what happened to a message after the provider had accepted it.
type What string

// The closed list of what happens.
const (
	Delivered    What = "delivered"    // it arrived
	Bounced      What = "bounced"      // it did not arrive, and will not
	Complained   What = "complained"   // the person reported it as spam
	Unsubscribed What = "unsubscribed" // the person wants no more of its kind
	Opened       What = "opened"
	Clicked      What = "clicked"
	Dismissed    What = "dismissed" // the person took it out of an inbox
)

// Report is what a provider tells of a message that it had accepted.
type Report struct {
	// Signed is Message.Signed, which the adapter gave the provider to hand back. Its signature says that the message was
	// one of ours, and whose.
	Signed string
	What   What
	// At is when it happened, by the provider; zero where it does not say.
	At time.Time
	// Dead is the e-mail address or phone number of a Bounced message at which nobody can be reached, "" where another
	// message may arrive (a mailbox that is full).
	Dead string
	// Code and Detail are the provider's own words, for people.
	Code, Detail string
	// Link is what was Clicked.
	Link string
	// Machine says that the provider knows of an open or a click that no human made it.
	Machine bool
}

// Reporter is implemented by channels whose provider calls back. Options.Callback is where.
type Reporter interface {
	// Reports reads a call of the provider and checks that it is the provider's. It may be called concurrently. Of
	// what is of no interest there are none. An error is answered with its text: a *CallbackError with its status,
	// others with 400.
	Reports(r *http.Request, body []byte) ([]Report, error)
}

// CallbackError refuses a provider's call.
type CallbackError struct {
	Status int
	Text   string
}

// Error implements error.
func (e *CallbackError) Error() string { return e.Text }

// ErrForged refuses a call that is not the provider's.
func ErrForged(why string) error { return &CallbackError{http.StatusForbidden, why} }

// ErrNoCallback refuses calls to a channel that is not set up for them.
var ErrNoCallback = errors.New("this channel is not set up for its provider's calls")
