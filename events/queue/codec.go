package queue

import (
	"encoding/json"

	"nudge/events"
)

func encode(evs []events.Event) []byte {
	data, err := json.Marshal(evs)
	if err != nil {
		panic(err)
	}
	return data
}

func decode(data []byte) (evs []events.Event, err error) {
	err = json.Unmarshal(data, &evs)
	for i := range evs {
		for _, f := range []*json.RawMessage{&evs[i].Properties, &evs[i].Context, &evs[i].Traits} {
			if string(*f) == "null" {
				*f = nil
			}
		}
	}
	return evs, err
}
