package queue_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"nudge/events/queue"
)

// natsServer is a NATS server as an operator would run one, reached over TCP.
func natsServer(t *testing.T) (url string) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true,
	})
	require.NoError(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	require.True(t, srv.ReadyForConnections(time.Minute))
	return srv.ClientURL()
}

func TestTwoProcessesShareAServer(t *testing.T) {
	url := natsServer(t)
	endpoint := open(t, queue.Config{URL: url})
	writer := open(t, queue.Config{URL: url})
	last := appendN(t, endpoint, 20)
	require.Len(t, collect(t, writer, 0, 20), 20)
	require.Positive(t, endpoint.Backlog())

	// The endpoint learns from the server what the writer did.
	writer.Written(last)
	require.Eventually(t, func() bool { return endpoint.Backlog() == 0 }, time.Minute, 10*time.Millisecond)

	a, b := openLog(t, endpoint), openLog(t, writer)
	seq, err := a.Publish(t.Context(), 0, []byte("a"), 0)
	require.NoError(t, err)
	_, err = b.Publish(t.Context(), 0, []byte("b"), 0)
	require.ErrorIs(t, err, queue.ErrFenced)
	_, err = b.Publish(t.Context(), 0, []byte("b"), seq)
	require.NoError(t, err)

	_, err = endpoint.Lease(t.Context(), "shard-0", "endpoint", time.Minute)
	require.NoError(t, err)
	_, err = writer.Lease(t.Context(), "shard-0", "writer", time.Minute)
	require.ErrorIs(t, err, queue.ErrHeld)
}
