package webpushd

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/net/websocket"
)

// frame is a message of Mozilla's protocol, of either side
// (https://mozilla-push-service.readthedocs.io/en/latest/design/, "Messages").
type frame struct {
	MessageType  string            `json:"messageType,omitempty"`
	Status       int               `json:"status,omitempty"`
	UAID         string            `json:"uaid,omitempty"`
	UseWebPush   bool              `json:"use_webpush,omitempty"`
	ChannelID    string            `json:"channelID,omitempty"`
	Key          string            `json:"key,omitempty"` // the VAPID key that the site subscribes with
	PushEndpoint string            `json:"pushEndpoint,omitempty"`
	Version      string            `json:"version,omitempty"`
	TTL          int64             `json:"ttl,omitempty"` // in seconds
	Data         string            `json:"data,omitempty"`
	Headers      map[string]string `json:"headers,omitempty"`
}

// Browsers is the side of the service that a real Firefox connects to by a WebSocket, where its setting dom.push.serverURL
// names this handler. It subscribes here, and gets what is pushed to it encrypted as it came: the log holds the same.
func (s *Server) Browsers() http.Handler { return websocket.Server{Handler: s.browser} }

// browser serves one until it goes away.
func (s *Server) browser(ws *websocket.Conn) {
	var mine []string
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, channel := range mine {
			delete(s.browsers, channel)
		}
	}()
	for {
		var said frame
		if websocket.JSON.Receive(ws, &said) != nil {
			return
		}
		answer := frame{MessageType: said.MessageType, Status: http.StatusOK, ChannelID: said.ChannelID}
		switch said.MessageType {
		case "hello":
			answer.UAID, answer.UseWebPush = said.UAID, true
			if answer.UAID == "" {
				answer.UAID = strings.ReplaceAll(uuid.NewString(), "-", "")
			}
		case "register":
			// Firefox sends the key with padding or without, as its version has it.
			if strings.TrimRight(said.Key, "=") != s.config.Key && s.config.Key != "" {
				answer.Status = http.StatusBadRequest
				break
			}
			answer.PushEndpoint = "https://" + s.Addr() + "/push/" + said.ChannelID
			mine = append(mine, said.ChannelID)
			s.mu.Lock()
			s.browsers[said.ChannelID] = ws
			s.mu.Unlock()
		case "unregister":
			s.Unsubscribe(said.ChannelID)
		case "", "ping":
			answer = frame{} // a ping is an empty object, and so is its answer
		default:
			continue // "ack" and what is about other things than pushes
		}
		if websocket.JSON.Send(ws, answer) != nil {
			return
		}
	}
}

// hand gives a push to the browser that has subscribed by the name.
func hand(to *websocket.Conn, name string, m Message, raw []byte) error {
	return websocket.JSON.Send(to, frame{ //nolint:wrapcheck // of a connection of the test's
		MessageType: "notification", ChannelID: name, Version: uuid.NewString(), TTL: int64(m.TTL.Seconds()),
		Data: base64.RawURLEncoding.EncodeToString(raw), Headers: map[string]string{"encoding": "aes128gcm"},
	})
}
