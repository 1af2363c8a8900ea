package inbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/channels"
	channel "nudge/channels/inbox"
	"nudge/events"
)

// Message is one message of an inbox.
type Message struct {
	ID       string            `json:"id"`                 // signed: POST /v1/messages/{id}/opened, …/clicked and …/dismissed say what became of it
	At       time.Time         `json:"at"`                 // when it arrived in the inbox
	Expires  *time.Time        `json:"expires,omitempty"`  // when it leaves by itself: at and the message's ttl
	Channel  string            `json:"channel"`            // as nudge.yaml calls it
	Category string            `json:"category,omitempty"` // of the rule
	Title    string            `json:"title,omitempty"`    // the headline
	Body     string            `json:"body,omitempty"`     // the text
	Image    string            `json:"image,omitempty"`    // its address
	Icon     string            `json:"icon,omitempty"`     // its address, or its name in the app
	Link     string            `json:"link,omitempty"`     // where a tap leads
	Actions  []channels.Action `json:"actions,omitempty"`  // buttons
	Data     map[string]any    `json:"data,omitempty"`     // what else the rule says
	Read     bool              `json:"read"`               // it was opened or clicked
	Clicked  bool              `json:"clicked,omitempty"`  // its link was followed, or a button

	place place
}

// Page is some messages of an inbox, the newest first.
type Page struct {
	Messages []Message `json:"messages"`
	Unread   int       `json:"unread"`         // of all that the inbox shows, not of the page
	Next     string    `json:"next,omitempty"` // what ?before= wants for the next page; absent: there is none
}

// messages are those that the inbox of a user shows, the newest first. What was accepted, or reported to this process,
// before the call counts.
func (in *Inbox) messages(ctx context.Context, user string) ([]Message, error) {
	ctx, cancel := context.WithTimeout(ctx, queryFor)
	defer cancel()
	if err := in.o.People.WaitFor(ctx, in.o.From); err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	person, known := in.o.People.Resolve(user, "")
	if !known {
		return nil, nil
	}
	select {
	case in.reading <- struct{}{}:
		defer func() { <-in.reading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the store: %w", context.Cause(ctx))
	}
	all := in.feed.of(person) // before the tables are asked, or what moves there meanwhile is in neither
	ids, err := in.o.IDs(ctx, person)
	if err != nil {
		return nil, fmt.Errorf("ask who a person was before: %w", err)
	}
	rows, err := in.rows(ctx, ids)
	if err != nil {
		return nil, err
	}
	all = append(all, rows...)
	slices.SortFunc(all, func(a, b delivered) int { return cmp.Or(cmp.Compare(b.seq, a.seq), cmp.Compare(b.index, a.index)) })
	all = slices.CompactFunc(all, func(a, b delivered) bool { return a.place == b.place })
	all = all[:min(len(all), mostMessages)]
	if len(all) == 0 {
		return nil, nil
	}
	done, err := in.states(ctx, ids, all)
	if err != nil {
		return nil, err
	}
	out := make([]Message, 0, len(all))
	for i := range all {
		m, ok := in.message(&all[i])
		if !ok {
			continue
		}
		s, now := done[all[i].messageKey], in.told.of(all[i].messageKey)
		if s.dismissed || now.dismissed {
			continue
		}
		m.Read, m.Clicked = s.read || now.read, s.clicked || now.clicked
		out = append(out, m)
	}
	return out, nil
}

// message is what an app gets of one; false where it has expired, or is not to be read.
func (in *Inbox) message(d *delivered) (Message, bool) {
	ref, err := in.o.Signer.Verify(d.signed)
	if err != nil { // of another signing secret: nothing could be reported of it
		return Message{}, false
	}
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(d.text))
	dec.UseNumber() // what an app gets of data is what the rule said
	if err := dec.Decode(&fields); err != nil {
		return Message{}, false
	}
	of := channels.Message{Fields: fields}
	m := Message{
		ID: d.signed, At: time.UnixMilli(d.at).UTC(), Channel: d.channel, Category: ref.Category, place: d.place,
		Title: of.Text("title"), Body: of.Text("body"), Image: of.Text("image"), Icon: of.Text("icon"), Link: of.Text("link"),
	}
	m.Actions, _ = of.Actions() // the rule's file is checked for what they are
	m.Data, _ = of.Map("data")
	if ttl, err := of.Lifetime(); err == nil && ttl > 0 {
		expires := m.At.Add(ttl)
		m.Expires = &expires
	}
	return m, m.Expires == nil || m.Expires.After(in.o.Now())
}

// rows are what the ledger has of a person's messages, the newest. Both tables are in the order of people.
func (in *Inbox) rows(ctx context.Context, ids []events.PersonID) ([]delivered, error) {
	since := int64(0)
	if keep := in.o.Retention(); keep > 0 {
		since = in.o.Now().Add(-keep).UnixMilli()
	}
	rows, err := in.o.Store.Query(ctx, "SELECT entry, channel, person, toUnixTimestamp64Milli(at), provider_id, text, seq, `index` FROM deliveries "+
		"WHERE person IN ("+list(ids)+") AND adapter = @adapter AND status = 'accepted' AND text != '' AND provider_id != '' "+
		"AND at >= fromUnixTimestamp64Milli(toInt64(@since), 'UTC') ORDER BY seq DESC, `index` DESC LIMIT "+strconv.Itoa(mostMessages),
		driver.NamedValue{Name: "adapter", Value: channel.Name}, driver.NamedValue{Name: "since", Value: since})
	if err != nil {
		return nil, fmt.Errorf("read the messages of an inbox: %w", err)
	}
	defer rows.Close()
	var out []delivered
	for rows.Next() {
		var d delivered
		var person uint64
		var text string
		if err := rows.Scan(&d.entry, &d.channel, &person, &d.at, &d.signed, &text, &d.seq, &d.index); err != nil {
			return nil, fmt.Errorf("read the messages of an inbox: %w", err)
		}
		d.person, d.text = events.PersonID(person), json.RawMessage(text)
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the messages of an inbox: %w", err)
	}
	return out, nil
}

// before is how long before a message arrived what became of it can be dated: clocks are set.
const before = time.Hour

// states are what the events say of messages. What a machine did counts as well: an app reports of an inbox what it has
// shown, and says it sooner than people can.
func (in *Inbox) states(ctx context.Context, ids []events.PersonID, of []delivered) (map[messageKey]state, error) {
	oldest := of[0].at
	for i := range of {
		oldest = min(oldest, of[i].at)
	}
	rows, err := in.o.Store.Query(ctx, "SELECT DISTINCT event, strs['entry'], strs['channel'] FROM events WHERE person IN ("+list(ids)+
		") AND event IN (@opened, @clicked, @dismissed) AND time >= fromUnixTimestamp64Milli(toInt64(@oldest), 'UTC')",
		driver.NamedValue{Name: "opened", Value: events.MessageOpened}, driver.NamedValue{Name: "clicked", Value: events.MessageClicked},
		driver.NamedValue{Name: "dismissed", Value: events.MessageDismissed}, driver.NamedValue{Name: "oldest", Value: oldest - before.Milliseconds()})
	if err != nil {
		return nil, fmt.Errorf("read what became of the messages of an inbox: %w", err)
	}
	defer rows.Close()
	out := map[messageKey]state{}
	for rows.Next() {
		var event string
		var key messageKey
		if err := rows.Scan(&event, &key.entry, &key.channel); err != nil {
			return nil, fmt.Errorf("read what became of the messages of an inbox: %w", err)
		}
		s := out[key]
		s.add(event)
		out[key] = s
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read what became of the messages of an inbox: %w", err)
	}
	return out, nil
}

// list are ids for a list of SQL.
func list(ids []events.PersonID) string {
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(text, ", ")
}
