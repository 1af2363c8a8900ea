package geo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/paulmach/orb"
)

// Problem is what is wrong in a fence file. It is an error that prints "file:line:column: what".
type Problem struct { //nolint:errname // a finding of a file, which is an error only where one is wanted
	File         string
	Line, Column int // 1-based; the column counts characters
	Summary      string
	Suggest      string // what to do, or ""
}

// Error prints the place, what is wrong and what to do.
func (p Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Summary)
	if p.Suggest != "" {
		s += "; " + p.Suggest
	}
	return s
}

// Load reads every .geojson and .json file of the folder, in order of name. It returns all problems
// at once; the fences are those without one. A folder that does not exist has no fences.
func Load(fsys fs.FS, dir string) (*Fences, []Problem) {
	var problems []Problem
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, Problem{File: dir, Line: 1, Column: 1, Summary: fmt.Sprintf("reading the folder: %v", err)})
	}
	var all []*Fence
	seen := map[string]*Fence{}
	for _, entry := range entries {
		if ext := path.Ext(entry.Name()); entry.IsDir() || ext != ".geojson" && ext != ".json" {
			continue
		}
		name := path.Join(dir, entry.Name())
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			problems = append(problems, Problem{File: name, Line: 1, Column: 1, Summary: fmt.Sprintf("reading the file: %v", err)})
			continue
		}
		p := parser{file: name, src: src, seen: seen}
		p.document()
		all = append(all, p.fences...)
		problems = append(problems, p.problems...)
	}
	return New(all), problems
}

// parser reads one file.
type parser struct {
	file     string
	src      []byte
	seen     map[string]*Fence // over all files
	fences   []*Fence
	problems []Problem
}

func (p *parser) problem(offset int64, suggest, format string, args ...any) {
	line, column := place(p.src, offset)
	p.problems = append(p.problems, Problem{
		File: p.file, Line: line, Column: column, Summary: fmt.Sprintf(format, args...), Suggest: suggest,
	})
}

// place is the line and the column of a byte.
func place(src []byte, offset int64) (line, column int) {
	before := src[:min(int(offset), len(src))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

// base is the file's name without folder and extension.
func (p *parser) base() string {
	name := path.Base(p.file)
	return strings.TrimSuffix(name, path.Ext(name))
}

type feature struct {
	Type       string
	ID         json.RawMessage
	Geometry   *geometry
	Properties json.RawMessage
}

type geometry struct {
	Type        string
	Coordinates json.RawMessage
}

func (p *parser) document() {
	// A byte order mark is what some Windows tools begin a file with; blanks keep the offsets.
	src := p.src
	if bytes.HasPrefix(src, []byte("\xef\xbb\xbf")) {
		src = append([]byte("   "), src[3:]...)
	}
	var kind struct{ Type string }
	if err := json.Unmarshal(src, &kind); err != nil {
		p.syntax(err)
		return
	}
	start := int64(len(src) - len(bytes.TrimLeft(src, " \t\r\n")))
	switch kind.Type {
	case "FeatureCollection":
		p.collection(src)
	case "Feature":
		p.feature(start, src, "")
	default:
		p.problem(start, `export the map as GeoJSON with "type": "FeatureCollection"`,
			"a fence file is a GeoJSON FeatureCollection or Feature, not %q", kind.Type)
	}
}

func (p *parser) syntax(err error) {
	offset := int64(0)
	var bad *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &bad):
		offset = max(0, bad.Offset-1)
	case errors.As(err, &mistyped):
		offset = max(0, mistyped.Offset-1)
	}
	p.problem(offset, "", "not valid GeoJSON: %v", err)
}

// collection walks the features with the offset of each. Its source is valid JSON.
func (p *parser) collection(src []byte) {
	dec := json.NewDecoder(bytes.NewReader(src))
	_, _ = dec.Token() // {
	found := false
	for dec.More() {
		key, _ := dec.Token()
		if key != "features" {
			var skip json.RawMessage
			_ = dec.Decode(&skip)
			continue
		}
		found = true
		if open, _ := dec.Token(); open != json.Delim('[') {
			p.problem(dec.InputOffset()-1, "", `"features" is not a list`)
			return
		}
		for n := 0; dec.More(); n++ {
			offset := dec.InputOffset()
			for offset < int64(len(src)) && strings.IndexByte(" \t\r\n,", src[offset]) >= 0 {
				offset++
			}
			var raw json.RawMessage
			_ = dec.Decode(&raw)
			p.feature(offset, raw, p.base()+"/")
		}
		_, _ = dec.Token() // ]
	}
	if !found {
		p.problem(0, "", `a FeatureCollection without "features"`)
	}
}

// feature reads one feature that begins at the offset; a prefix says that it is of a collection.
func (p *parser) feature(offset int64, raw []byte, prefix string) {
	var f feature
	if err := json.Unmarshal(raw, &f); err != nil {
		p.problem(offset, "", "not a GeoJSON feature: %v", err)
		return
	}
	if f.Type != "Feature" {
		p.problem(offset, "", `not a GeoJSON feature: its type is %q`, f.Type)
		return
	}
	name, err := featureID(f.ID)
	switch {
	case err != nil:
		p.problem(offset, `an id is a string or a number beside "type", "geometry" and "properties"`, "the feature's id: %v", err)
		return
	case name == "" && prefix != "":
		p.problem(offset, `add "id": "…" beside "type", "geometry" and "properties"`, "the feature has no id")
		return
	case name == "":
		name = p.base()
	case strings.ContainsAny(name, `*?[\`):
		p.problem(offset, "rename it", "the id %q has one of * ? [ \\, which patterns use", name)
		return
	}
	id := prefix + name
	line, _ := place(p.src, offset)
	fence := &Fence{ID: id, File: p.file, Line: line, Properties: json.RawMessage("{}")}
	if len(f.Properties) > 0 && !bytes.Equal(f.Properties, []byte("null")) {
		fence.Properties = slices.Clone(f.Properties)
	}
	if err := fence.shape(f.Geometry); err != nil {
		suggest := ""
		if hint, ok := errors.AsType[*hinted](err); ok {
			suggest = hint.suggest
		}
		p.problem(offset, suggest, "fence %q: %v", id, err)
		return
	}
	if other := p.seen[id]; other != nil {
		p.problem(offset, "give each feature an id of its own", "fence %q is already at %s:%d", id, other.File, other.Line)
		return
	}
	p.seen[id] = fence
	p.fences = append(p.fences, fence)
}

func featureID(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return "", nil
	}
	if raw[0] == '"' {
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	}
	var n json.Number
	if err := json.Unmarshal(raw, &n); err != nil {
		return "", fmt.Errorf("%s is neither a string nor a number", raw)
	}
	return n.String(), nil
}

// hinted is an error with what to do about it.
type hinted struct {
	message, suggest string
}

func (h *hinted) Error() string { return h.message }

// shape reads the geometry and the radius.
func (f *Fence) shape(g *geometry) error {
	if g == nil {
		return &hinted{"it has no geometry", "draw a point or a polygon"}
	}
	var props struct{ Radius json.RawMessage }
	if err := json.Unmarshal(f.Properties, &props); err != nil {
		return &hinted{"its properties are not an object", `write "properties": {…}`}
	}
	var err error
	switch g.Type {
	case "Point":
		var c []float64
		if err := json.Unmarshal(g.Coordinates, &c); err != nil {
			return fmt.Errorf("coordinates of a point: %w", err)
		}
		if f.centre, err = point(c); err != nil {
			return err
		}
		if f.radius, err = radius(props.Radius); err != nil {
			return err
		}
		f.box = padded(orb.Bound{Min: f.centre, Max: f.centre}, f.radius).bound()
		return nil
	case "Polygon":
		var c [][][]float64
		if err := json.Unmarshal(g.Coordinates, &c); err != nil {
			return fmt.Errorf("coordinates of a polygon: %w", err)
		}
		area, err := polygon(c)
		if err != nil {
			return err
		}
		f.areas = []orb.Polygon{area}
	case "MultiPolygon":
		var c [][][][]float64
		if err := json.Unmarshal(g.Coordinates, &c); err != nil {
			return fmt.Errorf("coordinates of a multipolygon: %w", err)
		}
		for _, rings := range c {
			area, err := polygon(rings)
			if err != nil {
				return err
			}
			f.areas = append(f.areas, area)
		}
	default:
		return &hinted{
			fmt.Sprintf("a %q is not a fence", g.Type),
			`use a Point (with a "radius" property in metres to be inside of), a Polygon or a MultiPolygon`,
		}
	}
	if len(f.areas) == 0 {
		return errors.New("it has no polygon")
	}
	f.box = f.areas[0].Bound()
	for _, area := range f.areas[1:] {
		f.box = f.box.Union(area.Bound())
	}
	f.centre = f.box.Center()
	return nil
}

func radius(raw json.RawMessage) (float64, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return 0, nil
	}
	var r float64
	if err := json.Unmarshal(raw, &r); err != nil || !(r > 0) || r > math.Pi*earthRadius {
		return 0, &hinted{fmt.Sprintf("the radius %s is not a number of metres above 0", raw), "write for example \"radius\": 150"}
	}
	return r, nil
}

// polygon reads rings: the outer one, then holes.
func polygon(rings [][][]float64) (orb.Polygon, error) {
	if len(rings) == 0 {
		return nil, errors.New("a polygon without a ring")
	}
	area := make(orb.Polygon, 0, len(rings))
	for _, positions := range rings {
		ring := make(orb.Ring, 0, len(positions))
		for _, position := range positions {
			p, err := point(position)
			if err != nil {
				return nil, err
			}
			ring = append(ring, p)
		}
		if len(ring) < 4 {
			return nil, fmt.Errorf("a ring of %d positions: a ring has at least 4, the last equal to the first", len(ring))
		}
		if !ring.Closed() {
			return nil, &hinted{"a ring is not closed", "end it with its first position"}
		}
		area = append(area, ring)
	}
	return area, nil
}

// point reads one position: longitude, latitude, and a height that is ignored.
func point(c []float64) (orb.Point, error) {
	if len(c) < 2 {
		return orb.Point{}, fmt.Errorf("a position of %d numbers: it is [longitude, latitude]", len(c))
	}
	lon, lat := c[0], c[1]
	switch {
	case math.Abs(lat) > 90 && math.Abs(lat) <= 180 && math.Abs(lon) <= 90:
		return orb.Point{}, &hinted{
			fmt.Sprintf("latitude %v is out of range (-90 to 90)", lat),
			fmt.Sprintf("they look swapped: GeoJSON is [longitude, latitude], so write [%v, %v]", lat, lon),
		}
	case math.Abs(lat) > 90:
		return orb.Point{}, fmt.Errorf("latitude %v is out of range (-90 to 90)", lat)
	case math.Abs(lon) > 180:
		return orb.Point{}, fmt.Errorf("longitude %v is out of range (-180 to 180)", lon)
	}
	return orb.Point{lon, lat}, nil
}
