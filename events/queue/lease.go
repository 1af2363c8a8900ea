package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Lease says who runs something, for a while. It keeps processes out of each other's way; it does
// not make a write safe (clocks differ, a process may sleep past the end of its lease): that is
// what Publish's expected sequence is for.
type Lease struct {
	q     *Queue
	kv    jetstream.KeyValue
	name  string
	owner string
	ttl   time.Duration

	mu       sync.Mutex
	revision uint64 // 0 once released or lost
}

type leaseEntry struct {
	Owner   string `json:"owner"`
	Expires int64  `json:"expires"` // Unix milliseconds
}

// Lease takes the lease with the given name for ttl, or answers ErrHeld, naming the owner, while
// somebody else has it. The same owner may take it again at once, as after a crash.
func (q *Queue) Lease(ctx context.Context, name, owner string, ttl time.Duration) (*Lease, error) {
	kv, err := q.bucket(ctx, leaseBucket)
	if err != nil {
		return nil, err
	}
	l := &Lease{q: q, kv: kv, name: name, owner: owner, ttl: ttl}
	current, err := kv.Get(ctx, name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		l.revision, err = kv.Create(ctx, name, l.entry())
		return l.taken(err)
	}
	if err != nil {
		return nil, fmt.Errorf("take the lease %q: %w", name, err)
	}
	var held leaseEntry
	if err := json.Unmarshal(current.Value(), &held); err != nil {
		return nil, fmt.Errorf("take the lease %q: its entry cannot be read: %w", name, err)
	}
	if left := time.UnixMilli(held.Expires).Sub(q.now()); held.Owner != owner && left > 0 {
		return nil, fmt.Errorf("take the lease %q: %w: %s, for another %s", name, ErrHeld, held.Owner, left)
	}
	l.revision, err = kv.Update(ctx, name, l.entry(), current.Revision())
	return l.taken(err)
}

func (l *Lease) taken(err error) (*Lease, error) {
	switch {
	case err == nil:
		return l, nil
	case isWrongLast(err):
		return nil, fmt.Errorf("take the lease %q: %w, who took it this moment", l.name, ErrHeld)
	default:
		return nil, fmt.Errorf("take the lease %q: %w", l.name, err)
	}
}

func (l *Lease) entry() []byte {
	data, err := json.Marshal(leaseEntry{Owner: l.owner, Expires: l.q.now().Add(l.ttl).UnixMilli()})
	if err != nil {
		panic(err) // two plain fields
	}
	return data
}

// Renew prolongs the lease by its ttl from now. ErrHeld says that it is lost: stop what it covers.
func (l *Lease) Renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revision == 0 {
		return fmt.Errorf("renew the lease %q: it was given back or lost: %w", l.name, ErrHeld)
	}
	revision, err := l.kv.Update(ctx, l.name, l.entry(), l.revision)
	if isWrongLast(err) {
		l.revision = 0
		return fmt.Errorf("renew the lease %q: %w", l.name, ErrHeld)
	}
	if err != nil {
		return fmt.Errorf("renew the lease %q: %w", l.name, err)
	}
	l.revision = revision
	return nil
}

// Release gives the lease back, if it is still ours.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revision == 0 {
		return nil
	}
	err := l.kv.Purge(ctx, l.name, jetstream.LastRevision(l.revision))
	l.revision = 0
	if err != nil && !isWrongLast(err) {
		return fmt.Errorf("release the lease %q: %w", l.name, err)
	}
	return nil
}
