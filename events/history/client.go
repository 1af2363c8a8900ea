package history

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nudge/events"
	"nudge/events/queue"
)

// Client appends to a running server, by POST /v1/import: while `nudge serve` has the queue open,
// nobody else can.
type Client struct {
	// URL of the server ("http://localhost:8080"), and one of its secret keys.
	URL, Key string
	HTTP     *http.Client
}

// Below the 500 KB and the 2,500 events that the endpoint takes at once.
const (
	maxBody  = 480_000
	maxCalls = 2000
)

// Append posts the events, in as many requests as their size needs. The sequence is always 0.
func (c *Client) Append(ctx context.Context, evs []events.Event) (uint64, error) {
	for len(evs) > 0 {
		var body bytes.Buffer
		body.WriteString(`{"batch":[`)
		n := 0
		for ; n < min(len(evs), maxCalls) && (n == 0 || body.Len()+len(evs[n].Raw) < maxBody); n++ {
			if n > 0 {
				body.WriteByte(',')
			}
			body.Write(evs[n].Raw)
		}
		body.WriteString(`]}`)
		if err := c.post(ctx, body.Bytes()); err != nil {
			return 0, err
		}
		evs = evs[n:]
	}
	return 0, nil
}

func (c *Client) post(ctx context.Context, body []byte) error {
	url := strings.TrimSuffix(c.URL, "/") + "/v1/import"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post to the server: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(c.Key, "")
	res, err := c.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("post to the server: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("post to the server: %w", err)
	}
	switch {
	case res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusTooManyRequests:
		if err := pause(ctx, res.Header.Get("Retry-After")); err != nil {
			return err
		}
		return fmt.Errorf("%s answers %s: %w", url, res.Status, queue.ErrBacklog)
	case res.StatusCode/100 != 2:
		var says struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(answer, &says) != nil || says.Message == "" {
			says.Message = strings.TrimSpace(string(answer))
		}
		return fmt.Errorf("%s answers %s: %s", url, res.Status, says.Message)
	}
	return nil
}

// pause waits the seconds of a Retry-After, at most a minute.
func pause(ctx context.Context, after string) error {
	seconds, err := strconv.Atoi(after)
	if err != nil || seconds <= 0 {
		return nil
	}
	timer := time.NewTimer(time.Duration(min(seconds, 60)) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
