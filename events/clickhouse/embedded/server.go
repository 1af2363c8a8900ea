package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// server speaks ClickHouse's HTTP interface, as far as clickhouse-go, curl and ClickHouse's own
// clients use it: query in the URL or the body, settings and param_* in the URL, rows of an INSERT
// in the body, external tables as multipart, exceptions with their code in header and body. It has
// no compression (it is a socket on the same machine), no users and no HTTP sessions.
type server struct {
	pool *pool
	dir  string
	log  *slog.Logger
}

// notSettings are the URL parameters that are not settings of the query.
var notSettings = map[string]bool{
	"query": true, "database": true, "default_format": true, "query_id": true, "quota_key": true, "session_id": true,
	"session_timeout": true, "session_check": true, "client_protocol_version": true, "wait_end_of_query": true,
	"buffer_size": true, "user": true, "password": true, "role": true, "compress": true, "decompress": true, "stacktrace": true,
}

// request is one query with everything that came with it.
type request struct {
	query    string
	format   string
	database string
	settings map[string]string
	params   []param
	tables   []externalTable
	rows     io.Reader // of an INSERT whose query is in the URL
	revision uint64    // that the client speaks
}

type externalTable struct {
	name, structure, format, path string
	free                          func()
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ping":
		_, _ = io.WriteString(w, "Ok.\n")
		return
	case "/", "":
	default:
		http.Error(w, "There is no handle "+r.URL.Path, http.StatusNotFound)
		return
	}
	req, err := s.read(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer func() {
		for _, t := range req.tables {
			t.free()
		}
	}()
	out := &reply{w: w, format: req.format}
	if id := r.URL.Query().Get("query_id"); id != "" {
		w.Header().Set("X-ClickHouse-Query-Id", id)
	}
	if err := s.answer(r.Context(), req, out); err != nil {
		out.fail(err)
		return
	}
	out.end()
}

func (s *server) read(r *http.Request) (*request, error) {
	values := r.URL.Query()
	req := &request{query: values.Get("query"), format: values.Get("default_format"), database: values.Get("database"), settings: map[string]string{}}
	if req.format == "" {
		req.format = r.Header.Get("X-ClickHouse-Format")
	}
	if req.format == "" {
		req.format = "TabSeparated"
	}
	if req.database == "" {
		req.database = r.Header.Get("X-ClickHouse-Database")
	}
	if req.database == "" {
		req.database = defaultDatabase
	}
	req.revision, _ = strconv.ParseUint(values.Get("client_protocol_version"), 10, 64)
	if values.Get("compress") == "1" || values.Get("decompress") == "1" || r.Header.Get("Content-Encoding") != "" {
		return nil, errors.New("the embedded engine's socket does not compress: switch compression off")
	}
	if kind, args, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "multipart/form-data" && args["boundary"] != "" {
		if err := s.readTables(r, req, values); err != nil {
			return nil, err
		}
	} else if req.query == "" {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, fmt.Errorf("read the query: %w", err)
		}
		req.query = string(body)
	} else if r.Method == http.MethodPost {
		req.rows = r.Body
	}
	for k := range values {
		if name, ok := strings.CutPrefix(k, "param_"); ok {
			req.params = append(req.params, param{name, values.Get(k)})
		} else if !notSettings[k] {
			req.settings[k] = values.Get(k)
		}
	}
	if r.Method == http.MethodGet && req.settings[readonly] == "" {
		req.settings[readonly] = "2"
	}
	return req, nil
}

// readTables reads external tables: NAME_structure and NAME_format in the URL, the rows as parts.
func (s *server) readTables(r *http.Request, req *request, values url.Values) error {
	parts, err := r.MultipartReader()
	if err != nil {
		return fmt.Errorf("read external tables: %w", err)
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read external tables: %w", err)
		}
		name := part.FormName()
		if part.FileName() == "" && name == "query" {
			query, err := io.ReadAll(part)
			if err != nil {
				return fmt.Errorf("read the query: %w", err)
			}
			req.query += string(query)
			continue
		}
		path, _, free, err := spool(s.dir, part)
		if err != nil {
			return err
		}
		table := externalTable{name: name, structure: values.Get(name + "_structure"), format: values.Get(name + "_format"), path: path, free: free}
		if table.format == "" {
			table.format = "TabSeparated"
		}
		req.tables = append(req.tables, table)
		values.Del(name + "_structure")
		values.Del(name + "_format")
	}
}

func (s *server) answer(ctx context.Context, req *request, out *reply) error {
	if isHello(req.query) && req.format == "Native" {
		return s.hello(ctx, req, out)
	}
	if strings.TrimSpace(req.query) == "" && req.rows == nil {
		return errors.New("Code: 62. DB::Exception: Empty query. (SYNTAX_ERROR)") //nolint:staticcheck // the engine's form
	}
	if req.rows != nil {
		done, free, err := s.inlineRows(req)
		if err != nil || done {
			return err
		}
		defer free()
	}
	w, err := s.pool.take(ctx, req.database, req.settings)
	if err != nil {
		return err
	}
	defer s.pool.put(w)
	defer s.killWhenGone(ctx, w)()
	for _, t := range req.tables {
		w.tainted = true // by its temporary tables
		create := "CREATE TEMPORARY TABLE " + quoteName(t.name) + " (" + t.structure + ") ENGINE = Memory"
		if err := w.run(create, "Null", nil, nil); err != nil {
			return err
		}
		fill := "INSERT INTO " + quoteName(t.name) + " SELECT * FROM file(" + quote(t.path) + ", " + t.format + ", " + quote(t.structure) + ")"
		if err := w.run(fill, "Null", nil, nil); err != nil {
			return err
		}
	}
	if changesSession(req.query) {
		w.tainted = true
	}
	if streams(req.query, req.format) {
		err = w.runStream(req.query, req.format, req.params, out.write)
		if err == nil || out.started || !strings.Contains(err.Error(), "Streaming query is not supported") {
			if err != nil {
				w.tainted = true // an unfinished stream may be in the way of the next query
			}
			return err
		}
	}
	return w.run(req.query, req.format, req.params, out.write)
}

// killWhenGone stops the worker's query when the client goes away. The function it returns ends the
// watch and must run before the worker is given back.
func (s *server) killWhenGone(ctx context.Context, w *worker) (stop func()) {
	finished, watched := make(chan struct{}), make(chan struct{})
	gone := false
	go func() {
		defer close(watched)
		select {
		case <-finished:
			return
		case <-ctx.Done():
		}
		gone = true
		// A query that is not yet in the process list cannot be killed: again, until it is over.
		again := time.NewTicker(100 * time.Millisecond)
		defer again.Stop()
		for {
			if err := s.pool.kill(w); err != nil {
				s.log.Warn("a query whose client is gone runs on", "err", err)
			}
			select {
			case <-finished:
				return
			case <-again.C:
			}
		}
	}()
	return func() {
		close(finished)
		<-watched
		w.tainted = w.tainted || gone
	}
}

var insertFormat = regexp.MustCompile(`(?is)^(\s*INSERT\s+INTO\s.*?)\s+FORMAT\s+([A-Za-z][A-Za-z0-9]*)\s*;?\s*$`)

// inlineRows turns an INSERT whose rows are in the request's body into one that the engine can run
// as a single query. done is true when there is nothing to insert.
func (s *server) inlineRows(req *request) (done bool, free func(), err error) {
	match := insertFormat.FindStringSubmatch(req.query)
	if match == nil || !blockwise(match[2]) {
		// Text rows (or the rest of a query) simply follow the query.
		rest, err := io.ReadAll(req.rows)
		if err != nil {
			return false, nil, fmt.Errorf("read the rows of an INSERT: %w", err)
		}
		if len(rest) > 0 {
			req.query += "\n" + string(rest)
		}
		return false, func() {}, nil
	}
	// Binary rows cannot follow the query, the engine cuts them at a newline.
	path, size, free, err := spool(s.dir, req.rows)
	if err != nil {
		return false, nil, err
	}
	if size == 0 {
		free()
		return true, nil, nil
	}
	req.query = match[1] + " SELECT * FROM file(" + quote(path) + ", " + match[2] + ")"
	return false, free, nil
}

func blockwise(format string) bool {
	switch strings.ToLower(format) {
	case "native", "rowbinarywithnamesandtypes", "parquet", "arrow", "arrowstream", "orc", "avro":
		return true
	}
	return false
}

// changesSession says whether the query leaves something behind on its session, which the next
// request must not see.
func changesSession(query string) bool {
	words := strings.Fields(stripComments(query[:min(len(query), 4096)]))
	if len(words) == 0 {
		return false
	}
	switch strings.ToUpper(words[0]) {
	case "SET", "USE":
		return true
	case "CREATE", "DROP", "REPLACE":
		return strings.Contains(strings.ToUpper(strings.Join(words[:min(len(words), 4)], " ")), "TEMPORARY")
	}
	return false
}

var ownFormat = regexp.MustCompile(`(?i)\bFORMAT\b`)

// streams says whether the result can be sent block by block: a SELECT in a format whose blocks
// may follow one another. Wherever in doubt the result is sent as a whole.
func streams(query, format string) bool {
	switch format {
	case "Native", "RowBinary", "TabSeparated", "TSV", "CSV", "JSONEachRow":
	default:
		return false
	}
	head := strings.ToUpper(strings.TrimLeft(stripComments(query), " \t\r\n("))
	return (strings.HasPrefix(head, "SELECT") || strings.HasPrefix(head, "WITH")) && !ownFormat.MatchString(query)
}

// stripComments removes what stands before the first word of the query.
func stripComments(query string) string {
	for {
		query = strings.TrimLeft(query, " \t\r\n")
		switch {
		case strings.HasPrefix(query, "--"), strings.HasPrefix(query, "#"):
			_, query, _ = strings.Cut(query, "\n")
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query, "*/")
		default:
			return query
		}
	}
}

// reply sends the result, or the exception: with a status as long as nothing was sent, then in the
// frame that ClickHouse announces in a header.
type reply struct {
	w       http.ResponseWriter
	format  string
	started bool
	tag     string
}

func (o *reply) write(block []byte) error {
	if !o.started {
		o.started = true
		var random [8]byte
		_, _ = rand.Read(random[:])
		o.tag = hex.EncodeToString(random[:])
		h := o.w.Header()
		h.Set("X-ClickHouse-Format", o.format)
		h.Set("X-ClickHouse-Timezone", "UTC")
		h.Set("X-ClickHouse-Exception-Tag", o.tag)
		h.Set("Content-Type", "application/octet-stream")
	}
	_, err := o.w.Write(block)
	return err
}

func (o *reply) end() {
	if !o.started {
		o.w.Header().Set("Content-Length", "0")
		o.w.WriteHeader(http.StatusOK)
	}
}

var exceptionCode = regexp.MustCompile(`^Code: (\d+)\. `)

func (o *reply) fail(err error) {
	text := err.Error()
	if o.started {
		fmt.Fprintf(o.w, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", o.tag, text, len(text)+1, o.tag)
		return
	}
	code := 0
	if m := exceptionCode.FindStringSubmatch(text); m != nil {
		code, _ = strconv.Atoi(m[1])
	} else {
		code = 1001 // STD_EXCEPTION
		text = "Code: 1001. DB::Exception: " + text + ". (STD_EXCEPTION)"
	}
	o.w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
	o.w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	o.w.WriteHeader(statusOf(code))
	_, _ = io.WriteString(o.w, text+"\n")
}

// statusOf maps exception codes to HTTP as ClickHouse does, for those that clients look at.
func statusOf(code int) int {
	switch code {
	case 62, 47, 43, 53, 115, 36, 27, 26, 38, 41, 72, 349: // syntax, identifiers, types, settings, values
		return http.StatusBadRequest
	case 60, 81, 46, 16: // table, database, function, column in table
		return http.StatusNotFound
	case 164: // READONLY
		return http.StatusForbidden
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusRequestTimeout
	default:
		return http.StatusInternalServerError
	}
}
