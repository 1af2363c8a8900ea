package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// gorush compares with the push server of that name: a program of its own that is posted to over HTTP, and keeps what
// it was told in memory.
type gorush struct {
	program  string
	s        *session
	services *services
	target   *target
	messages int
	lost     atomic.Int64 // messages that it could not send, by its own word
}

// gorushWay is one way to use it.
type gorushWay struct {
	name    string
	tokens  int // of one notification: as many people get the same text
	posts   int // at once
	workers int // core.worker_num; 0 is as many as there are cores
	pushes  int // ios.max_concurrent_pushes
}

// perPost is how many messages one post has; more notifications than that are refused.
const perPost = 100

// gorushWays are as it comes, with one text for many, which suits it best; the same allowed more; and a text for each,
// which is what nudge sends.
func gorushWays(target string) []gorushWay {
	many := 1000
	if target == "fcm" {
		many = 500 // Firebase takes no more at once
	}
	return []gorushWay{
		{name: fmt.Sprintf("gorush as it comes, a text for %d", many), tokens: many, posts: 8, pushes: 100},
		{name: fmt.Sprintf("gorush allowed 1,000 at once, a text for %d", many), tokens: many, posts: 8, workers: 64, pushes: 1000},
		{name: "gorush allowed 1,000 at once, a text each", tokens: 1, posts: 10, workers: 1000, pushes: 1000},
	}
}

// gorushRow measures one way, against providers of its own.
func (o *sendOptions) gorushRow(ctx context.Context, s *session, name string, way gorushWay, t *table) (err error) {
	s.say("%s: %s, %d messages …", name, way.name, o.messages)
	p, err := startServicesChild(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := p.order(ctx, name, o.delay.String()); err != nil {
		return err
	}
	g := &gorush{program: o.gorush, s: s, services: p, target: &targets(p.ready, []string{name})[0], messages: o.messages}
	r, err := g.row(ctx, way)
	if err != nil {
		return err
	}
	r.add(t, g.target.title)
	return nil
}

func (g *gorush) row(ctx context.Context, way gorushWay) (r rowResult, err error) {
	dir, err := os.MkdirTemp(g.s.dir, "gorush-*")
	if err != nil {
		return r, err
	}
	base, cmd, err := g.start(ctx, dir, way)
	if err != nil {
		return r, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	post := func(ctx context.Context, first, upTo int) error { return g.post(ctx, base, way, first, upTo) }
	if err := post(ctx, 0, 1); err != nil { // connections stand
		return r, err
	}
	before, err := g.services.accepted(ctx)
	if err != nil {
		return r, err
	}
	self := process{"sending", cmd.Process.Pid}
	if err := self.forgetPeak(); err != nil {
		return r, err
	}
	m, err := startMeter(self, process{"server", g.services.process().pid})
	if err != nil {
		return r, err
	}
	r = rowResult{Name: way.name}
	if err := spread(ctx, g.messages, max(perPost, way.tokens), way.posts, post); err != nil {
		return r, err
	}
	r.Took, r.PeakMB, r.Load = time.Since(m.start), self.peak(), loadNumber()
	used, err := m.used()
	if err != nil {
		return r, err
	}
	r.Sending, r.Server = used["sending"], used["server"]
	after, err := g.services.accepted(ctx) // a post is answered when its messages are out, or given up
	if err != nil {
		return r, err
	}
	if r.Sends = int(after[g.target.name].Accepted - before[g.target.name].Accepted); r.Sends != g.messages {
		r.Name += fmt.Sprintf(" (it gave up %d of %d)", g.lost.Load(), g.messages)
	}
	return r, nil
}

// start starts it with a config that leads it to the local provider.
func (g *gorush) start(ctx context.Context, dir string, way gorushWay) (base string, cmd *exec.Cmd, err error) {
	var c plainConfig
	if err := json.Unmarshal(g.target.config, &c); err != nil {
		return "", nil, fmt.Errorf("read the config of %s: %w", g.target.name, err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return "", nil, err
	}
	key, ca := filepath.Join(dir, "key.p8"), filepath.Join(dir, "ca.pem")
	config := map[string]any{
		"core": map[string]any{
			"address": "127.0.0.1", "port": port, "sync": true, "worker_num": way.workers, "queue_num": 8192, "mode": "release",
			"http_proxy": g.services.ready.Proxy,
		},
		"log": map[string]any{"access_log": "/dev/null", "access_level": "error", "error_log": "/dev/null", "error_level": "error"},
	}
	if g.target.name == "apns" {
		config["ios"] = map[string]any{"enabled": true, "key_path": key, "key_id": c.KeyID, "team_id": c.TeamID, "production": true, "max_concurrent_pushes": way.pushes}
		config["android"] = map[string]any{"enabled": false}
	} else {
		key = filepath.Join(dir, "account.json")
		config["android"] = map[string]any{"enabled": true, "key_path": key}
	}
	text, err := json.Marshal(config) // YAML too
	if err != nil {
		return "", nil, fmt.Errorf("write its config: %w", err)
	}
	file := filepath.Join(dir, "config.yml")
	err = errors.Join(os.WriteFile(file, text, 0o600), os.WriteFile(key, []byte(c.Key+c.Credentials), 0o600), os.WriteFile(ca, []byte(c.CA), 0o600))
	if err != nil {
		return "", nil, fmt.Errorf("write its config: %w", err)
	}
	cmd = exec.CommandContext(ctx, g.program, "-c", file)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+ca)
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start it: %w", err)
	}
	base = "http://127.0.0.1:" + port
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, err = get(ctx, base+"/healthz"); err == nil {
			return base, cmd, nil
		}
		if time.Now().After(deadline) || !waitUntil(ctx, time.Now().Add(50*time.Millisecond)) {
			_ = cmd.Process.Kill()
			return "", nil, errors.Join(fmt.Errorf("it does not answer: %w", err), cmd.Wait())
		}
	}
}

// post sends messages; it is answered when they are out.
func (g *gorush) post(ctx context.Context, base string, way gorushWay, first, upTo int) error {
	platform := 1
	if g.target.name == "fcm" {
		platform = 2
	}
	var all []map[string]any
	for i := first; i < upTo; i += way.tokens {
		m := g.target.message(i)
		one := map[string]any{
			"platform": platform, "title": m.Fields["title"], "message": m.Fields["body"], "topic": "example.shop", "priority": "normal",
			"data": map[string]any{"nudge": map[string]any{"id": m.Signed, "link": m.Fields["link"]}},
		}
		if platform == 2 {
			delete(one, "topic") // of FCM it is something else
			one["data"] = map[string]any{"nudge_id": m.Signed, "link": m.Fields["link"]}
		}
		var tokens []string
		for j := i; j < min(i+way.tokens, upTo); j++ {
			tokens = append(tokens, g.target.tokens[j%len(g.target.tokens)])
		}
		one["tokens"] = tokens
		all = append(all, one)
	}
	body, err := json.Marshal(map[string]any{"notifications": all})
	if err != nil {
		return fmt.Errorf("write a post: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/push", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("post to it: %w", err)
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("post to it: %w", err)
	}
	var answer struct {
		Logs []struct{ Error string } `json:"logs"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s: %.300s", response.Status, text)
	}
	g.lost.Add(int64(len(answer.Logs)))
	return nil
}

// freePort is a port that nobody listened on a moment ago.
func freePort(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
