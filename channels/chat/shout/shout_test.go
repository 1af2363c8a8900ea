package shout_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nudge/channels/chat/shout"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// parentMark makes this test binary a parent that starts a child and waits to be killed.
const parentMark = "NUDGE_TEST_PARENT"

func TestMain(m *testing.M) {
	shout.MaybeRunChild()
	if os.Getenv(parentMark) != "" {
		p := shout.NewProcess()
		p.Use()
		_, err := p.Step(context.Background(), zulip("x"), nil)
		fmt.Println(p.PID(), err)
		select {}
	}
	os.Exit(m.Run())
}

func zulip(text string) shout.Post {
	return shout.Post{URL: "zulip://bot:madeUpKey@chat.shop.example?stream=alerts", Text: text}
}

// process is one that ends with the test.
func process(t testing.TB) *shout.Process {
	t.Helper()
	p := shout.NewProcess()
	p.Use()
	t.Cleanup(p.Release)
	return p
}

func step(t testing.TB, p *shout.Process, post shout.Post, answers ...shout.Answer) shout.Step {
	t.Helper()
	s, err := p.Step(context.Background(), post, answers)
	require.NoError(t, err)
	return s
}

func TestAStepIsARequest(t *testing.T) {
	p := process(t)
	require.Zero(t, p.PID(), "it is started when it is first asked")
	before := http.DefaultTransport
	got := step(t, p, zulip("Hi"))
	require.Same(t, before, http.DefaultTransport, "of this process nothing is changed")
	require.Equal(t, "POST", got.Request.Method)
	require.Equal(t, "https://chat.shop.example/api/v1/messages", got.Request.URL)
	require.Equal(t, "content=Hi&to=alerts&type=stream", string(got.Request.Body))
	require.NotEmpty(t, got.Request.Header.Get("Authorization"))
	require.Empty(t, got.Problem)
	require.Equal(t, shout.Step{}, step(t, p, zulip("Hi"), shout.Answer{Status: 200}), "and with an answer there is nothing more")
	require.Contains(t, step(t, p, zulip("Hi"), shout.Answer{Status: 500}).Problem, "unexpected")
}

func TestAPostOfTwoRequests(t *testing.T) {
	p := process(t)
	post := shout.Post{URL: "matrix://:madeUpToken@chat.shop.example/?rooms=a:b.example", Text: "Hi"}
	require.Equal(t, "https://chat.shop.example/_matrix/client/r0/join/%23a:b.example?access_token=madeUpToken", step(t, p, post).Request.URL)
	joined := shout.Answer{Status: 200, Body: []byte(`{"room_id":"!r:b.example"}`)}
	second := step(t, p, post, joined).Request
	require.Equal(t, "https://chat.shop.example/_matrix/client/r0/rooms/%21r:b.example/send/m.room.message?access_token=madeUpToken", strings.ReplaceAll(second.URL, "/!r", "/%21r"))
	require.JSONEq(t, `{"msgtype":"m.text","body":"Hi"}`, string(second.Body))
	require.Equal(t, shout.Step{}, step(t, p, post, joined, shout.Answer{Status: 200, Body: []byte(`{"event_id":"$1"}`)}))
}

func TestNothingOfAMessageStays(t *testing.T) {
	p := process(t)
	post := shout.Post{URL: "pushover://:a@b", Text: "1", Params: map[string]string{"title": "First", "priority": "1"}}
	require.Contains(t, string(step(t, p, post).Request.Body), "title=First")
	post.Text, post.Params = "2", nil
	require.Equal(t, "device=&message=2&priority=0&token=a&user=b", string(step(t, p, post).Request.Body))
}

func TestProblems(t *testing.T) {
	p := process(t)
	for name, post := range map[string]shout.Post{
		"no URL":               {URL: "zulip://%zz"},
		"another service":      {URL: "smtp://a:b@127.0.0.1/?from=a@b.c&to=a@b.c"},
		"what it breaks on":    {URL: "matrix://:a@b/?rooms=,"},
		"a parameter":          {URL: "pushover://:a@b", Params: map[string]string{"nothing": "x"}},
		"a message too long":   {URL: "wecom://a", Text: strings.Repeat("x", 5000)},
		"a body without bound": {URL: "bark://:a@b/", Text: strings.Repeat("x", 2<<20)},
		"a sign-in":            {URL: "matrix://ann:pw@b/?rooms=a"},
	} {
		t.Run(name, func(t *testing.T) {
			got := step(t, p, post)
			require.Nil(t, got.Request)
			require.NotEmpty(t, got.Problem)
		})
	}
	require.NotNil(t, step(t, p, zulip("and it goes on")).Request)
}

func TestParse(t *testing.T) {
	require.NoError(t, shout.Parse("lark://open.feishu.cn/token"))
	require.Error(t, shout.Parse("lark://elsewhere.example/token"))
	require.ErrorIs(t, shout.Parse("matrix://ann:pw@b"), shout.ErrPassword)
	rapid.Check(t, func(t *rapid.T) { // it may refuse anything, and break down at nothing
		schemes := rapid.SampledFrom([]string{"bark", "googlechat", "ifttt", "join", "lark", "matrix", "notifiarr", "opsgenie", "pagerduty", "pushover", "rocketchat", "signal", "wecom", "zulip"})
		rest := rapid.StringOfN(rapid.SampledFrom([]rune("a1/:@?&=#!,%.+")), 0, 30, -1)
		_ = shout.Parse(schemes.Draw(t, "scheme") + "://" + rest.Draw(t, "rest"))
	})
}

func TestManyAtOnce(t *testing.T) {
	p := process(t)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			text := "message-" + strconv.Itoa(i)
			s, err := p.Step(context.Background(), zulip(text), nil)
			if err != nil || s.Request == nil || !strings.Contains(string(s.Request.Body), "content="+text+"&") {
				t.Errorf("%s: %v %v", text, s, err)
			}
		})
	}
	group.Wait()
}

func TestItIsStartedAgain(t *testing.T) {
	p := process(t)
	step(t, p, zulip("1"))
	first := p.PID()
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	// What the kernel tells of its end may come after the next question: that one then fails, and no further one.
	if _, err := p.Step(context.Background(), zulip("2"), nil); err != nil {
		require.NotContains(t, err.Error(), "madeUp")
	}
	step(t, p, zulip("3"))
	require.NotEqual(t, first, p.PID())
}

func TestOneThatHangsIsEnded(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the time of a step")
	}
	p := process(t)
	step(t, p, zulip("1"))
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGSTOP))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Step(ctx, zulip("2"), nil)
	require.ErrorIs(t, err, context.Canceled, "who is cancelled does not wait")
	_, err = p.Step(context.Background(), zulip("3"), nil)
	if err != nil { // it stood behind the one that hangs, or is the one
		require.ErrorContains(t, err, "broke down")
	}
	require.NotNil(t, step(t, p, zulip("4")).Request)
}

func TestItEndsWithItsLastUser(t *testing.T) {
	p := shout.NewProcess()
	p.Use()
	p.Use()
	step(t, p, zulip("1"))
	pid := p.PID()
	p.Release()
	require.Equal(t, pid, p.PID())
	p.Release()
	require.Zero(t, p.PID())
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	p.Use()
	step(t, p, zulip("2"))
	require.NotZero(t, p.PID(), "a new user may have it again")
	p.Release()
}

func TestItHasNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("NUDGE_TEST_SECRET", "madeUpSecret")
	p := process(t)
	step(t, p, zulip("1"))
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID()))
	if err != nil {
		t.Skip("there is no /proc here")
	}
	require.NotContains(t, string(environment), "madeUpSecret")
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID()))
	require.NoError(t, err)
	require.NotContains(t, string(command), "madeUpKey")
}

func TestNoOrphanStays(t *testing.T) {
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), parentMark+"=1")
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var pid int
	_, err = fmt.Sscan(line, &pid)
	require.NoError(t, err, line)
	require.NoError(t, syscall.Kill(pid, 0))
	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) }, 20*time.Second, 20*time.Millisecond)
}

// zombie says whether a process has ended, and whoever inherited it has not looked yet.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil && os.IsNotExist(err) || strings.Contains(string(stat), ") Z ")
}

func BenchmarkStep(b *testing.B) {
	p := process(b)
	step(b, p, zulip("1"))
	for b.Loop() {
		step(b, p, zulip("Hi"))
	}
}
