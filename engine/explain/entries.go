package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/ledger"
	"nudge/events"
)

// Entry is one entry of the person into the rule: what was decided each time, and what became of it.
type Entry struct {
	Entry      string     `json:"entry"`
	Value      string     `json:"value,omitempty"`
	Entered    time.Time  `json:"entered"`
	Decisions  []Decision `json:"decisions"`
	Deliveries []Delivery `json:"deliveries"`
	Receipts   []Receipt  `json:"receipts"`
}

// Decision is one answer of the ledger.
type Decision struct {
	At       time.Time     `json:"at"`
	Reason   ledger.Reason `json:"reason"`
	By       string        `json:"by,omitempty"`    // the rule or the cap that won, the detail of a stage
	Says     string        `json:"says,omitempty"`  // the same in words, where there is more to say
	Again    *time.Time    `json:"again,omitempty"` // when it is tried again; of a send when the next channel is used
	Waits    bool          `json:"waits,omitempty"` // an address or a consent that comes makes it due
	Version  string        `json:"version"`         // of the rule, as it was then
	Variant  string        `json:"variant,omitempty"`
	Channels []string      `json:"channels,omitempty"`
	Features ledger.Values `json:"features,omitempty"` // what the condition read
}

// Delivery is one step of a message on its way.
type Delivery struct {
	At       time.Time `json:"at"`
	Channel  string    `json:"channel"`
	Adapter  string    `json:"adapter,omitempty"`
	Status   string    `json:"status"`
	Attempt  uint32    `json:"attempt"`
	Provider string    `json:"provider_id,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// Receipt is what the person did with a message; what machines opened is none.
type Receipt struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"` // Message Delivered, Message Bounced, Message Complained, Message Opened, Message Clicked, Message Dismissed
}

// entries reads the ledger of the person under a rule, as of the instant.
func (x *explainer) entries(ctx context.Context, rule string) ([]Entry, error) {
	out := []Entry{}
	at := func(entry string) *Entry {
		i := slices.IndexFunc(out, func(e Entry) bool { return e.Entry == entry })
		if i < 0 {
			return nil
		}
		return &out[i]
	}
	err := x.rows(ctx, "SELECT entry, value, entered, at, reason, `by`, due, wait, version, variant, channels, features FROM decisions "+
		"WHERE person IN ("+x.people()+") AND rule = @rule AND at <= fromUnixTimestamp64Milli(toInt64(@at), 'UTC') ORDER BY entered, entry, attempt, seq, `index`", rule, func(scan func(...any) error) error {
		var entry, value, reason, features string
		var d Decision
		var entered, due time.Time
		if err := scan(&entry, &value, &entered, &d.At, &reason, &d.By, &due, &d.Waits, &d.Version, &d.Variant, &d.Channels, &features); err != nil {
			return err
		}
		d.Reason = ledger.Reason(reason)
		if due.Unix() > 0 {
			d.Again = &due
		}
		if err := json.Unmarshal([]byte(features), &d.Features); err != nil && features != "" {
			return fmt.Errorf("what the condition read: %w", err)
		}
		e := at(entry)
		if e == nil {
			out = append(out, Entry{Entry: entry, Value: value, Entered: entered, Decisions: []Decision{}, Deliveries: []Delivery{}, Receipts: []Receipt{}})
			e = &out[len(out)-1]
		}
		e.Decisions = append(e.Decisions, d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the decisions of %s: %w", rule, err)
	}
	err = x.rows(ctx, "SELECT entry, channel, adapter, status, at, attempt, provider_id, error FROM deliveries "+
		"WHERE person IN ("+x.people()+") AND rule = @rule AND at <= fromUnixTimestamp64Milli(toInt64(@at), 'UTC') ORDER BY at, seq, `index`", rule, func(scan func(...any) error) error {
		var entry string
		var d Delivery
		if err := scan(&entry, &d.Channel, &d.Adapter, &d.Status, &d.At, &d.Attempt, &d.Provider, &d.Error); err != nil {
			return err
		}
		if e := at(entry); e != nil {
			e.Deliveries = append(e.Deliveries, d)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the deliveries of %s: %w", rule, err)
	}
	err = x.rows(ctx, "SELECT strs['entry'], event, time FROM events WHERE person IN ("+x.people()+") AND strs['rule'] = @rule "+
		"AND event IN ('Message Delivered', 'Message Bounced', 'Message Complained', 'Message Opened', 'Message Clicked', 'Message Dismissed') AND bitAnd(flags, "+strconv.Itoa(int(events.MachineOpen))+") = 0 AND time <= fromUnixTimestamp64Milli(toInt64(@at), 'UTC') ORDER BY time, pos", rule, func(scan func(...any) error) error {
		var entry string
		var r Receipt
		if err := scan(&entry, &r.Event, &r.At); err != nil {
			return err
		}
		if e := at(entry); e != nil {
			e.Receipts = append(e.Receipts, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what became of the messages of %s: %w", rule, err)
	}
	return out, nil
}

// people are the ids under which rows of the person may stand, for a list of SQL.
func (x *explainer) people() string {
	ids := make([]string, len(x.raw))
	for i, id := range x.raw {
		ids[i] = strconv.FormatUint(id, 10)
	}
	return strings.Join(ids, ", ")
}

// rows runs a query with the names rule and at.
func (x *explainer) rows(ctx context.Context, sql, rule string, row func(scan func(...any) error) error) error {
	rows, err := x.Conn.Query(ctx, sql, driver.NamedValue{Name: "rule", Value: rule}, driver.NamedValue{Name: "at", Value: x.At})
	if err != nil {
		return err //nolint:wrapcheck // the caller says what it read
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err() //nolint:wrapcheck // the caller says what it read
}
