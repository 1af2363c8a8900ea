package embedded

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb.so. It is loaded once in a process and never unloaded: its threads outlive
// every session. Results are opaque handles that must be given back with destroy.
type library struct {
	opening sync.Mutex // of a session: the engine plays with the process's signals meanwhile

	connect      func(argc int32, argv **byte) *uintptr
	closeConn    func(conn *uintptr)
	query        func(conn uintptr, query *byte, queryLen uintptr, format *byte, formatLen uintptr) uintptr
	queryWith    func(conn uintptr, query *byte, queryLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr
	stream       func(conn uintptr, query *byte, queryLen uintptr, format *byte, formatLen uintptr) uintptr
	streamWith   func(conn uintptr, query *byte, queryLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr
	streamFetch  func(conn, result uintptr) uintptr
	streamCancel func(conn, result uintptr)
	buffer       func(result uintptr) *byte
	length       func(result uintptr) uintptr
	errText      func(result uintptr) string
	destroy      func(result uintptr)
}

// loadLibrary loads the engine.
func loadLibrary(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("load the embedded ClickHouse from %s: %w", path, err)
	}
	var setSignalHandlers func(enabled bool)
	lib := &library{}
	for name, fn := range map[string]any{
		"chdb_set_signal_handlers_enabled": &setSignalHandlers,
		"chdb_connect":                     &lib.connect,
		"chdb_close_conn":                  &lib.closeConn,
		"chdb_query_n":                     &lib.query,
		"chdb_query_with_params_n":         &lib.queryWith,
		"chdb_stream_query_n":              &lib.stream,
		"chdb_stream_query_with_params_n":  &lib.streamWith,
		"chdb_stream_fetch_result":         &lib.streamFetch,
		"chdb_stream_cancel_query":         &lib.streamCancel,
		"chdb_result_buffer":               &lib.buffer,
		"chdb_result_length":               &lib.length,
		"chdb_result_error":                &lib.errText,
		"chdb_destroy_query_result":        &lib.destroy,
	} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("%s is not a libchdb that this program knows (run `make setup` for the pinned one): %w", path, err)
		}
		purego.RegisterFunc(fn, symbol)
	}
	// Left alone, the engine installs handlers of its own for SIGSEGV and others. Told not to, it
	// resets them to their defaults, and a nil dereference in Go would end the process instead of
	// panicking.
	keepSignals(func() { setSignalHandlers(false) })
	return lib, nil
}

// session is one connection of the engine. It runs one query at a time.
type session struct {
	lib    *library
	handle *uintptr
}

// open opens a session; args are the engine's command line without the program's name. All
// sessions of a process are on one data folder; the engine answers nil for a second one.
func (l *library) open(args ...string) (*session, error) {
	argv := make([]*byte, 0, len(args)+1)
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, a := range append([]string{"nudge"}, args...) {
		p := unsafe.SliceData(append([]byte(a), 0))
		pin.Pin(p)
		argv = append(argv, p)
	}
	l.opening.Lock()
	defer l.opening.Unlock()
	var handle *uintptr
	keepSignals(func() { handle = l.connect(int32(len(argv)), unsafe.SliceData(argv)) })
	runtime.KeepAlive(argv)
	if handle == nil || *handle == 0 {
		return nil, fmt.Errorf("the engine refused to open %s", strings.Join(args, " "))
	}
	return &session{lib: l, handle: handle}, nil
}

func (s *session) close() { s.lib.closeConn(s.handle) }

// param is a query parameter: {name:Type} in the query stands for the value, which is in
// ClickHouse's TSV-escaped text form.
type param struct{ name, value string }

// run executes one query of any kind, keeps its whole formatted result in memory and hands it to
// fn. The bytes belong to the engine and are gone when fn returns.
func (s *session) run(query, format string, params []param, fn func([]byte) error) error {
	result := s.call(s.lib.query, s.lib.queryWith, query, format, params)
	if result == 0 {
		return errors.New("the engine gave no result")
	}
	defer s.lib.destroy(result)
	if text := s.lib.errText(result); text != "" {
		return errors.New(text)
	}
	if n := s.lib.length(result); n > 0 && fn != nil {
		return fn(unsafe.Slice(s.lib.buffer(result), n))
	}
	return nil
}

// runStream executes a SELECT and hands its result to fn block by block, so that it never is in
// memory as a whole. Each block is formatted by itself: only formats whose blocks may simply follow
// one another can be used. An error of fn abandons the query, and the session must then be closed.
func (s *session) runStream(query, format string, params []param, fn func([]byte) error) error {
	result := s.call(s.lib.stream, s.lib.streamWith, query, format, params)
	if result == 0 {
		return errors.New("the engine gave no result")
	}
	defer s.lib.destroy(result)
	if text := s.lib.errText(result); text != "" {
		return errors.New(text)
	}
	for {
		more, err := s.fetch(result, fn)
		if err != nil || !more {
			return err
		}
	}
}

func (s *session) fetch(result uintptr, fn func([]byte) error) (more bool, err error) {
	chunk := s.lib.streamFetch(*s.handle, result)
	if chunk == 0 {
		return false, nil
	}
	defer s.lib.destroy(chunk)
	if text := s.lib.errText(chunk); text != "" {
		return false, errors.New(text)
	}
	n := s.lib.length(chunk)
	if n == 0 {
		return false, nil
	}
	if err := fn(unsafe.Slice(s.lib.buffer(chunk), n)); err != nil {
		s.lib.streamCancel(*s.handle, result)
		return false, err
	}
	return true, nil
}

type (
	queryFunc     = func(conn uintptr, query *byte, queryLen uintptr, format *byte, formatLen uintptr) uintptr
	queryWithFunc = func(conn uintptr, query *byte, queryLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr
)

func (s *session) call(plain queryFunc, with queryWithFunc, query, format string, params []param) uintptr {
	q, qn := unsafe.StringData(query), uintptr(len(query))
	f, fn := unsafe.StringData(format), uintptr(len(format))
	defer runtime.KeepAlive(query)
	defer runtime.KeepAlive(format)
	if len(params) == 0 {
		return plain(*s.handle, q, qn, f, fn)
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	texts := make([]*byte, 0, 2*len(params))
	lens := make([]uintptr, 0, 2*len(params))
	add := func(text string) {
		p := unsafe.SliceData(append([]byte(text), 0))
		pin.Pin(p)
		texts, lens = append(texts, p), append(lens, uintptr(len(text)))
	}
	for _, p := range params {
		add(p.name)
	}
	for _, p := range params {
		add(p.value)
	}
	n := len(params)
	return with(*s.handle, q, qn, f, fn, &texts[0], &lens[0], &texts[n], &lens[n], uintptr(n))
}
