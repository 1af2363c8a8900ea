package apns_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/provider"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"
	"github.com/stretchr/testify/require"
)

// BenchmarkSend measures pushes a second with the local server in the same process, which shares
// the machine's cores: through the adapter, and for comparison through the plain library.
func BenchmarkSend(b *testing.B) {
	for _, delay := range []time.Duration{0, 50 * time.Millisecond} {
		b.Run(fmt.Sprintf("adapter/answers after %s", delay), func(b *testing.B) { benchAdapter(b, delay) })
	}
	for _, delay := range []time.Duration{0, 50 * time.Millisecond} {
		b.Run(fmt.Sprintf("apns2 alone/answers after %s", delay), func(b *testing.B) { benchLibrary(b, delay) })
	}
}

// server starts a local APNs that keeps nothing.
func server(b *testing.B, delay time.Duration) (*apnsd.Server, map[string]any) {
	b.Helper()
	s, err := apnsd.Start(apnsd.Config{Now: time.Now})
	require.NoError(b, err)
	b.Cleanup(s.Close)
	s.Keep = false
	if delay > 0 {
		s.Script(func(provider.Request) provider.Fault { return provider.Fault{Delay: delay} })
	}
	return s, map[string]any{
		"topic": "example.shop", "key": string(s.KeyPEM), "key_id": s.KeyID, "team_id": s.TeamID,
		"host": s.Host(), "ca": string(s.CA.PEM),
	}
}

func benchAdapter(b *testing.B, delay time.Duration) {
	s, config := server(b, delay)
	raw, err := json.Marshal(config)
	require.NoError(b, err)
	spec := apns.Spec()
	channel, err := spec.New(channels.Options{Config: raw, Now: time.Now})
	require.NoError(b, err)
	defer func() { require.NoError(b, channel.(channels.Closer).Close()) }()
	channeltest.Bench(b, spec, channel, channeltest.Message)
	b.ReportMetric(float64(s.Connections()), "connections")
	require.EqualValues(b, b.N+spec.Batch, s.Accepted())
}

func benchLibrary(b *testing.B, delay time.Duration) {
	s, _ := server(b, delay)
	key, err := token.AuthKeyFromBytes(s.KeyPEM)
	require.NoError(b, err)
	client := apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: s.KeyID, TeamID: s.TeamID})
	client.Host = s.Host()
	trust(client, s)
	push := func(i int) error {
		r, err := client.Push(&apns2.Notification{
			DeviceToken: channeltest.Token(i % 500), Topic: "example.shop", ApnsID: channels.UUID(strconv.Itoa(i)), Priority: 10,
			Payload: []byte(`{"aps":{"alert":{"title":"Still thinking about the blue shoes?","body":"They are waiting in your cart. 3 people looked at them today."}}}`),
		})
		if err == nil && !r.Sent() {
			err = fmt.Errorf("%d %s", r.StatusCode, r.Reason)
		}
		return err
	}
	require.NoError(b, push(0))
	workers := 256
	if delay > 0 {
		workers = 4000
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	cpu := channeltest.CPUTime()
	b.ResetTimer()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				if err := push(int(n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	report(b, cpu, s)
}

// trust has the plain client trust the local server.
func trust(client *apns2.Client, s *apnsd.Server) {
	client.HTTPClient = &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12},
	}}
}

// report gives pushes a second and the CPU of both sides a push.
func report(b *testing.B, before time.Duration, s *apnsd.Server) {
	b.Helper()
	channeltest.ReportRate(b, before)
	b.ReportMetric(float64(s.Connections()), "connections")
}
