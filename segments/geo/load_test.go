package geo

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"nudge/segments"
)

func load(t *testing.T, files map[string]string) (*Fences, []string) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	fences, problems := Load(fsys, "fences")
	var texts []string
	for _, p := range problems {
		texts = append(texts, p.Error())
	}
	return fences, texts
}

const stores = `{"type": "FeatureCollection", "features": [
  {"type": "Feature", "id": 42, "properties": {"name": "Mitte", "radius": 80}, "geometry": {"type": "Point", "coordinates": [13.4, 52.52]}},
  {"type": "Feature", "id": "süd", "properties": null,
   "geometry": {"type": "Polygon", "coordinates": [[[13.3, 52.4], [13.31, 52.4], [13.31, 52.41], [13.3, 52.41], [13.3, 52.4]]]}}
]}`

const mall = `{"type": "Feature", "properties": {}, "geometry": {"type": "MultiPolygon", "coordinates": [[[[1,1],[2,1],[2,2],[1,2],[1,1]]]]}}`

func TestLoad(t *testing.T) {
	fences, problems := load(t, map[string]string{
		"fences/stores.geojson": stores, "fences/mall.json": "\xef\xbb\xbf" + mall, "fences/readme.txt": "no",
	})
	require.Empty(t, problems)
	var ids []string
	for _, f := range fences.All() {
		ids = append(ids, f.ID)
	}
	require.Equal(t, []string{"mall", "stores/42", "stores/süd"}, ids)
	require.JSONEq(t, `{"name": "Mitte", "radius": 80}`, string(fences.Match("stores/42").fences[0].Properties))
	require.Equal(t, 3, fences.Match("stores/*").fences[1].Line)
	require.True(t, fences.Match("stores/42").fences[0].HasArea())
	require.JSONEq(t, `{}`, string(fences.Match("stores/süd").fences[0].Properties))

	same, _ := load(t, map[string]string{"fences/mall.geojson": mall, "fences/stores.json": stores})
	require.Equal(t, fences.Hash(), same.Hash(), "file extensions decide nothing")
	fewer, _ := load(t, map[string]string{"fences/stores.json": stores})
	require.NotEqual(t, fences.Hash(), fewer.Hash())
}

func TestLoadWithoutFolder(t *testing.T) {
	fences, problems := load(t, nil)
	require.Empty(t, problems)
	require.Empty(t, fences.All())
}

func TestLoadProblems(t *testing.T) {
	collection := func(features string) string {
		return "{\"type\": \"FeatureCollection\",\n \"features\": [\n  " + features + "\n]}"
	}
	at := func(coordinates string) string {
		return collection(`{"type": "Feature", "id": "a", "geometry": {"type": "Polygon", "coordinates": ` + coordinates + `}}`)
	}
	ok := `{"type": "Feature", "id": "a", "geometry": {"type": "Point", "coordinates": [1, 2]}}`
	cases := map[string]struct {
		text string
		want []string
	}{
		"not JSON":         {"{\"type\": \"Feature\",\n  oops}", []string{"fences/x.json:2:3: not valid GeoJSON: invalid character 'o' looking for beginning of object key string"}},
		"not GeoJSON":      {`{"type": "Topology"}`, []string{`fences/x.json:1:1: a fence file is a GeoJSON FeatureCollection or Feature, not "Topology"; export the map as GeoJSON with "type": "FeatureCollection"`}},
		"no features":      {`{"type": "FeatureCollection"}`, []string{`fences/x.json:1:1: a FeatureCollection without "features"`}},
		"features no list": {`{"type": "FeatureCollection", "features": {}}`, []string{`fences/x.json:1:43: "features" is not a list`}},
		"not JSON, column in characters": {
			collection(ok + ",\n \"ü\": 1,"),
			[]string{`fences/x.json:4:5: not valid GeoJSON: invalid character ':' after array element`},
		},
		"missing id": {
			collection(ok + ", " + `{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}`),
			[]string{`fences/x.json:3:89: the feature has no id; add "id": "…" beside "type", "geometry" and "properties"`},
		},
		"id of another type": {
			collection(`{"type": "Feature", "id": [1], "geometry": null}`),
			[]string{`fences/x.json:3:3: the feature's id: [1] is neither a string nor a number; an id is a string or a number beside "type", "geometry" and "properties"`},
		},
		"id with a star": {
			collection(`{"type": "Feature", "id": "a*", "geometry": null}`),
			[]string{`fences/x.json:3:3: the id "a*" has one of * ? [ \, which patterns use; rename it`},
		},
		"duplicate id": {
			collection(ok + ",\n" + ok),
			[]string{`fences/x.json:4:1: fence "x/a" is already at fences/x.json:3; give each feature an id of its own`},
		},
		"all at once": {
			collection(`{"type": "Feature", "id": "b"},` + "\n    5"),
			[]string{
				`fences/x.json:3:3: fence "x/b": it has no geometry; draw a point or a polygon`,
				`fences/x.json:4:5: not a GeoJSON feature: json: cannot unmarshal number into Go value of type geo.feature`,
			},
		},
		"swapped":      {at(`[[[52.5, 113.4]]]`), []string{`fences/x.json:3:3: fence "x/a": latitude 113.4 is out of range (-90 to 90); they look swapped: GeoJSON is [longitude, latitude], so write [113.4, 52.5]`}},
		"longitude":    {at(`[[[-180.5, 0]]]`), []string{`fences/x.json:3:3: fence "x/a": longitude -180.5 is out of range (-180 to 180)`}},
		"latitude":     {at(`[[[100, 91]]]`), []string{`fences/x.json:3:3: fence "x/a": latitude 91 is out of range (-90 to 90)`}},
		"short":        {at(`[[[1]]]`), []string{`fences/x.json:3:3: fence "x/a": a position of 1 numbers: it is [longitude, latitude]`}},
		"open ring":    {at(`[[[0,0],[1,0],[1,1],[0,1]]]`), []string{`fences/x.json:3:3: fence "x/a": a ring is not closed; end it with its first position`}},
		"small ring":   {at(`[[[0,0],[1,0],[0,0]]]`), []string{`fences/x.json:3:3: fence "x/a": a ring of 3 positions: a ring has at least 4, the last equal to the first`}},
		"no ring":      {at(`[]`), []string{`fences/x.json:3:3: fence "x/a": a polygon without a ring`}},
		"wrong nested": {at(`[1, 2]`), []string{`fences/x.json:3:3: fence "x/a": coordinates of a polygon: json: cannot unmarshal number into Go value of type [][]float64`}},
		"line": {
			collection(`{"type": "Feature", "id": "a", "geometry": {"type": "LineString", "coordinates": [[0,0],[1,1]]}}`),
			[]string{`fences/x.json:3:3: fence "x/a": a "LineString" is not a fence; use a Point (with a "radius" property in metres to be inside of), a Polygon or a MultiPolygon`},
		},
		"radius": {
			collection(`{"type": "Feature", "id": "a", "properties": {"radius": "80m"}, "geometry": {"type": "Point", "coordinates": [0,0]}}`),
			[]string{`fences/x.json:3:3: fence "x/a": the radius "80m" is not a number of metres above 0; write for example "radius": 150`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, problems := load(t, map[string]string{"fences/x.json": c.text})
			require.Equal(t, c.want, problems)
		})
	}
}

func TestCheck(t *testing.T) {
	fences, _ := load(t, map[string]string{
		"fences/p.json":      `{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}`,
		"fences/stores.json": stores,
	})
	require.NoError(t, fences.Check(segments.PlaceRef{Pattern: "p", Meters: 100}))
	require.NoError(t, fences.Check(segments.PlaceRef{Pattern: "stores/*", Inside: true}))
	require.ErrorContains(t, fences.Check(segments.PlaceRef{Pattern: "p", Inside: true}), "nobody can be inside")
	require.ErrorContains(t, fences.Check(segments.PlaceRef{Pattern: "shops/*"}), `there are 3 fences, the first is "p"`)
	require.ErrorContains(t, (*Fences)(nil).Check(segments.PlaceRef{Pattern: "p"}), "there are no fences")
}

func TestGlob(t *testing.T) {
	cases := map[string]struct {
		pattern, text string
		want          bool
	}{
		"same":            {"mall", "mall", true},
		"longer":          {"mall", "malls", false},
		"folder":          {"stores/*", "stores/42", true},
		"other folder":    {"stores/*", "shops/42", false},
		"deeper":          {"stores/*", "stores/a/b", false},
		"two folders":     {"*/42", "stores/42", true},
		"bad pattern":     {"stores/[", "stores/1", false},
		"bad but its own": {"stores/[", "stores/[", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, glob(c.pattern, c.text)) })
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(stores)
	f.Add(mall)
	f.Fuzz(func(t *testing.T, text string) {
		fences, problems := Load(fstest.MapFS{"fences/x.json": {Data: []byte(text)}}, "fences")
		for _, p := range problems {
			require.Positive(t, p.Line)
			require.Positive(t, p.Column)
		}
		for _, fence := range fences.All() {
			require.NotEmpty(t, fence.ID)
			fence.Distance(1, 2)
		}
	})
}
