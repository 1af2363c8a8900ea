package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/fcmd"
)

// pushReady is what the push servers say once they serve: the config of each adapter, and where to ask
// how many messages they have accepted.
type pushReady struct {
	APNs  json.RawMessage `json:"apns"`
	FCM   json.RawMessage `json:"fcm"`
	Count string          `json:"count"`
}

// accepted is what the push servers have taken.
type accepted struct {
	APNs int64 `json:"apns"`
	FCM  int64 `json:"fcm"`
}

// pushCommand is a local APNs and a local FCM, as a child of this program.
func pushCommand(in io.Reader, out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "push-servers", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := untilEOF(cmd.Context(), in)
			defer cancel()
			if err := servePush(ctx, out); err != nil {
				return failure{err}
			}
			return nil
		},
	}
}

func servePush(ctx context.Context, out io.Writer) error {
	a, err := apnsd.Start(apnsd.Config{Now: time.Now})
	if err != nil {
		return err
	}
	defer a.Close()
	f, err := fcmd.Start(fcmd.Config{Now: time.Now})
	if err != nil {
		return err
	}
	defer f.Close()
	a.Keep, f.Keep = false, false
	var ready pushReady
	if ready.APNs, err = json.Marshal(map[string]any{
		"topic": "example.shop", "key": string(a.KeyPEM), "key_id": a.KeyID, "team_id": a.TeamID, "host": a.Host(), "ca": string(a.CA.PEM),
	}); err != nil {
		return err
	}
	if ready.FCM, err = json.Marshal(map[string]any{"credentials": string(f.Credentials), "endpoint": f.Endpoint(), "ca": string(f.CA.PEM)}); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(accepted{a.Accepted(), f.Accepted()})
	})}
	go srv.Serve(l)   //nolint:errcheck // it ends with Close
	defer srv.Close() //nolint:errcheck // nobody asks any more
	ready.Count = "http://" + l.Addr().String()
	if err := json.NewEncoder(out).Encode(ready); err != nil {
		return fmt.Errorf("say that the push servers are ready: %w", err)
	}
	<-ctx.Done()
	return nil
}

// pushServers are the running servers.
type pushServers struct {
	*child
	ready pushReady
}

func startPush(ctx context.Context, s *session) (*pushServers, error) {
	p := &pushServers{}
	var err error
	p.child, err = startChild(ctx, "push servers", []string{"push-servers"}, s.progress, &p.ready)
	return p, err
}

// accepted asks how many messages the servers have taken.
func (p *pushServers) accepted(ctx context.Context) (a accepted, err error) {
	text, err := get(ctx, p.ready.Count)
	if err != nil {
		return a, fmt.Errorf("ask the push servers what they accepted: %w", err)
	}
	return a, json.Unmarshal(text, &a)
}
