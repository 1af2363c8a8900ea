package h2

import (
	"context"
	"net/http"
)

// Outcome is what a request came to, for callers whose library hides the status, the header or
// the body, or is lost when the body is not what it expects.
type Outcome struct {
	Status int // 0: there was no answer
	Header http.Header
	Body   []byte // cut at Config.MaxBody
	Err    error  // why there was no answer
}

// outcomeKey is the context key of *Outcome.
type outcomeKey struct{}

// Watch has the Transport fill o for the one request made with the context returned.
func Watch(ctx context.Context, o *Outcome) context.Context {
	return context.WithValue(ctx, outcomeKey{}, o)
}

// Watched returns the outcome that a request's context asks to be filled, nil for none.
func Watched(r *http.Request) *Outcome {
	o, _ := r.Context().Value(outcomeKey{}).(*Outcome)
	return o
}
