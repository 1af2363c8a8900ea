// Package queue is the durable log between the HTTP endpoint, the store and the engine: NATS
// JetStream, either embedded in this process with its files in the data folder, or a NATS cluster
// reached by URL.
//
// It holds one stream of events (many events to a message, every message synced before Append
// returns) and any number of named logs with one subject a shard (decisions, deliveries), fenced
// by the expected last sequence.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxPayload is the number of bytes that one message may carry: below the 1 MiB that every NATS
// server accepts by default, with room for headers.
const MaxPayload = 900_000

// Defaults of Config.
const (
	DefaultMaxBacklog = 4 << 30
	DefaultKeepBytes  = 2 << 30
	DefaultKeep       = time.Hour
)

const (
	eventStream  = "events"
	stateBucket  = "queue"
	leaseBucket  = "leases"
	writtenKey   = "written"
	atHeader     = "At" // Unix milliseconds by Config.Now, when the message was appended
	apiTimeout   = 30 * time.Second
	readMessages = 500     // messages asked for ahead by a reader …
	readBytes    = 8 << 20 // … and never more bytes than this
	tidyEvery    = 30 * time.Second
	noteEvery    = time.Second
)

// Errors that callers branch on.
var (
	// ErrInUse says that another process has the queue's folder open.
	ErrInUse = errors.New("the queue's folder is in use")
	// ErrBacklog says that too many bytes wait for the store; try again later.
	ErrBacklog = errors.New("the queue's backlog is full")
	// ErrFenced says that somebody else wrote to the shard since the expected sequence: reload
	// before deciding again.
	ErrFenced = errors.New("another writer is on this shard")
	// ErrHeld says that a lease belongs to somebody else.
	ErrHeld = errors.New("the lease is held by another owner")
	// ErrTooLarge says that a payload is over MaxPayload.
	ErrTooLarge = fmt.Errorf("the message is over %d bytes", MaxPayload)
)

// Config says where the queue lives and how much of it is kept.
type Config struct {
	// Dir is the folder of the embedded server's files; unused with URL.
	Dir string
	// URL of a NATS server or cluster with JetStream ("nats://host:4222"); empty is the embedded
	// server. A server reached by URL must sync every message itself (sync_interval: always) for
	// an acknowledgement to survive a power cut.
	URL string
	// Replicas of each stream on a cluster; 0 is 1. Unused by the embedded server.
	Replicas int
	// MaxBacklog is the number of bytes not yet written to the store above which Append answers
	// ErrBacklog; 0 is DefaultMaxBacklog.
	MaxBacklog int64
	// Keep is how long written messages stay; 0 is DefaultKeep. KeepBytes bounds the same tail by
	// size, whatever its age; 0 is DefaultKeepBytes.
	Keep      time.Duration
	KeepBytes int64
	// NoSync acknowledges before the embedded server has synced a message to disk. It is for
	// simulations alone, whose queue nobody opens again: elsewhere an acknowledged event would be
	// lost with the power.
	NoSync bool
	Logger *slog.Logger
	// Now is the clock; required. Message.At and Record.At are its readings.
	Now func() time.Time
}

// Queue is an open queue. All methods may be called concurrently.
type Queue struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	server *server.Server // nil with a URL
	lock   *folderLock    // nil with a URL
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	state  jetstream.KeyValue

	overflow  overflow
	heartbeat time.Duration // how often the server tells a reader that it is there; 0 is the client's default

	backlog backlog
	buffers sync.Pool     // of *[]byte, for Append
	kick    chan struct{} // asks the keeper to tidy now
	tidying sync.Mutex    // one Tidy at a time: it looks at messages that another would purge

	stop context.CancelFunc
	done sync.WaitGroup
	once sync.Once
}

// Open starts the embedded server (or connects to cfg.URL), creates what is missing and counts the
// backlog. Close the queue when done; a folder can be open in one process only.
func Open(ctx context.Context, cfg Config) (_ *Queue, err error) {
	if cfg.Now == nil {
		return nil, errors.New("open the queue: Config.Now is missing; pass the process's clock")
	}
	if cfg.Dir == "" && cfg.URL == "" {
		return nil, errors.New("open the queue: neither a folder nor a URL is given")
	}
	setDefaults(&cfg)
	q := &Queue{cfg: cfg, log: cfg.Logger.With("component", "queue"), now: cfg.Now, kick: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			q.Close()
		}
	}()
	if err := q.connect(); err != nil {
		return nil, err
	}
	if err := q.setup(ctx); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	q.stop = stop
	q.done.Go(func() { q.keep(run) })
	return q, nil
}

func setDefaults(cfg *Config) {
	if cfg.MaxBacklog == 0 {
		cfg.MaxBacklog = DefaultMaxBacklog
	}
	if cfg.Keep == 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.KeepBytes == 0 {
		cfg.KeepBytes = DefaultKeepBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Replicas = max(cfg.Replicas, 1)
	if cfg.URL == "" {
		cfg.Replicas = 1
	}
}

func (q *Queue) connect() (err error) {
	opts := []nats.Option{
		nats.Name("nudge"),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // a publish while away fails at once, it is not kept in memory
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) {
				q.overflow.happened()
				return
			}
			q.log.Warn("queue connection", "error", err)
		}),
	}
	url := q.cfg.URL
	if url == "" {
		if q.lock, err = lockFolder(q.cfg.Dir); err != nil {
			return err
		}
		if q.server, err = startServer(q.cfg.Dir, !q.cfg.NoSync, q.log); err != nil {
			return err
		}
		opts = append(opts, nats.InProcessServer(q.server))
	}
	if q.conn, err = nats.Connect(url, opts...); err != nil {
		return fmt.Errorf("connect to the queue %s: %w", q.place(), err)
	}
	q.js, err = jetstream.New(q.conn, jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		return fmt.Errorf("connect to the queue %s: %w", q.place(), err)
	}
	return nil
}

func (q *Queue) setup(ctx context.Context) (err error) {
	// Some slack over the two limits: the backlog is what refuses, with a reason; the stream's own
	// limit only keeps a mistake of ours from filling the disk.
	slack := (q.cfg.MaxBacklog+q.cfg.KeepBytes)/4 + 64<<20
	q.stream, err = q.createStream(ctx, jetstream.StreamConfig{
		Name:     eventStream,
		Subjects: []string{eventStream},
		MaxBytes: q.cfg.MaxBacklog + q.cfg.KeepBytes + slack,
	})
	if err != nil {
		return err
	}
	q.state, err = q.bucket(ctx, stateBucket)
	if err != nil {
		return err
	}
	return q.countBacklog(ctx)
}

// createStream makes a stream, or brings an existing one up to date.
func (q *Queue) createStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	cfg.Storage = jetstream.FileStorage
	cfg.Retention = jetstream.LimitsPolicy
	cfg.Discard = jetstream.DiscardNew
	cfg.MaxMsgSize = MaxPayload + 10_000
	cfg.Replicas = q.cfg.Replicas
	cfg.AllowDirect = true
	s, err := q.js.CreateOrUpdateStream(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("create the stream %q in the queue %s: %w", cfg.Name, q.place(), err)
	}
	return s, nil
}

func (q *Queue) bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	kv, err := q.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: name, Storage: jetstream.FileStorage, Replicas: q.cfg.Replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("create the bucket %q in the queue %s: %w", name, q.place(), err)
	}
	return kv, nil
}

// place names the queue for people, without the password that a URL may carry.
func (q *Queue) place() string {
	switch {
	case q.cfg.URL == "":
		return q.cfg.Dir
	case q.conn != nil:
		return q.conn.ConnectedUrlRedacted()
	default:
		return "at its URL"
	}
}

// Close ends readers, notes how far the store has come, and stops the embedded server after it has
// written everything. It may be called more than once.
func (q *Queue) Close() {
	q.once.Do(func() {
		if q.stop != nil {
			q.stop()
			q.done.Wait()
		}
		if q.conn != nil {
			q.conn.Close()
		}
		if q.server != nil {
			q.server.Shutdown()
			q.server.WaitForShutdown()
		}
		if q.lock != nil {
			q.lock.release()
		}
	})
}
