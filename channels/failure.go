package channels

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Failed is a Result with a *DeliveryError.
func Failed(class Class, code string, err error) Result {
	return Result{Err: &DeliveryError{Class: class, Code: code, Err: err}}
}

// AsDelivery returns err as the *DeliveryError that Result.Err wants: itself if it is one, else
// ClassMessage (what an adapter itself refuses before sending).
func AsDelivery(err error) *DeliveryError {
	if de, ok := errors.AsType[*DeliveryError](err); ok {
		return de
	}
	return &DeliveryError{Class: ClassMessage, Code: "message", Err: err}
}

// Transport classifies an error of the network. ctx is the caller's: when it has ended, the
// answer is ClassCancelled, because nobody knows whether the provider got the message; a timeout
// of the adapter's own is ClassTemporary. URLs, which hold tokens, are dropped from the error, and
// so is each of the secrets.
func Transport(ctx context.Context, err error, secrets ...string) *DeliveryError {
	if de, ok := errors.AsType[*DeliveryError](err); ok {
		return de
	}
	if cause := ctx.Err(); cause != nil {
		return &DeliveryError{Class: ClassCancelled, Code: "cancelled", Err: cause}
	}
	for {
		ue, ok := errors.AsType[*url.Error](err)
		if !ok {
			break
		}
		err = ue.Err
	}
	if badCertificate(err) {
		return &DeliveryError{Class: ClassCredential, Code: "tls", Err: errors.New(Redact(err.Error(), secrets...))}
	}
	code := "network"
	if t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && t.Timeout() {
		code = "timeout"
	}
	return &DeliveryError{Class: ClassTemporary, Code: code, Err: errors.New(Redact(err.Error(), secrets...))}
}

// badCertificate says whether a connection failed because one side's certificate does not convince
// the other: that is a matter of set-up, which waiting does not mend.
func badCertificate(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	// The alert's own type is not exported.
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && strings.Contains(op.Error(), "certificate")
}

// ClassOfStatus is what an HTTP status means where the provider does not say more; "" is
// accepted.
func ClassOfStatus(status int) Class {
	switch {
	case status >= 200 && status < 300:
		return ""
	case status == http.StatusTooManyRequests:
		return ClassRateLimit
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return ClassTemporary
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired:
		return ClassCredential
	case status >= 300 && status < 400:
		return ClassCredential // a redirect is never followed: the URL of our set-up is out of date
	}
	return ClassMessage
}

// Classify finds the class of an answer in a provider's table: by status and code, by code alone
// (status 0), by status alone (code ""), else ClassOfStatus.
func Classify(table []Answer, status int, code string) Class {
	best, rank := ClassOfStatus(status), 0
	for _, a := range table {
		r := 0
		switch {
		case a.Status == status && a.Code == code && code != "":
			r = 3
		case a.Status == 0 && a.Code == code && code != "":
			r = 2
		case a.Status == status && a.Code == "":
			r = 1
		}
		if r > rank {
			best, rank = a.Class, r
		}
	}
	return best
}

// OptedOut says whether a provider's table has the code for people who want no more.
func OptedOut(table []Answer, code string) bool {
	return code != "" && slices.ContainsFunc(table, func(a Answer) bool { return a.OptedOut && a.Code == code })
}

// RetryAfter reads a Retry-After header: seconds or an HTTP date; 0 where there is none, none that
// can be read, or one that has passed. More than a day is cut to a day.
func RetryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	var wait time.Duration
	if n, err := strconv.ParseInt(header, 10, 64); err == nil {
		wait = time.Duration(min(max(n, 0), 86400)) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), 24*time.Hour)
}

// Redact replaces each secret in a text that comes from outside by asterisks. Secrets shorter than
// four characters are left: they would mask half the text and protect nothing.
func Redact(text string, secrets ...string) string {
	for _, s := range secrets {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, mask)
		}
	}
	return text
}

// Excerpt makes a provider's answer fit for an error: one line of at most 200 bytes, redacted.
func Excerpt(body []byte, secrets ...string) string {
	text := strings.ToValidUTF8(Redact(string(body), secrets...), "")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// Each calls send for every message of a batch, at most width at once, and returns the results in
// order. When ctx ends, messages not yet begun are ClassCancelled; those under way are send's to
// answer.
func Each(ctx context.Context, batch []Message, width int, send func(ctx context.Context, m *Message) Result) []Result {
	results := make([]Result, len(batch))
	one := func(i int) {
		if err := ctx.Err(); err != nil {
			results[i] = Failed(ClassCancelled, "cancelled", err)
			return
		}
		results[i] = send(ctx, &batch[i])
	}
	if len(batch) == 1 || width <= 1 {
		for i := range batch {
			one(i)
		}
		return results
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(width, len(batch)) { // a goroutine takes several: growing its stack is dear
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(batch); i = int(next.Add(1)) - 1 {
				one(i)
			}
		})
	}
	wg.Wait()
	return results
}
