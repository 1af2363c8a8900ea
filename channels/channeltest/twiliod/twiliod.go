// Package twiliod is a local Twilio: the Messages resource of its REST API (2010-04-01) over TLS, with
// the validation, the error codes and the JSON that Twilio documents.
//
// It follows Twilio's pages "Messages resource", "Twilio's response" and "Error and warning dictionary".
package twiliod

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"nudge/channels/channeltest/provider"
)

// What the server knows: one account with a token, a key, a sender and a messaging service.
const (
	Account = "AC00112233445566778899aabbccddeeff"
	Token   = "auth-token-of-the-account-0123456789"
	Key     = "SK00112233445566778899aabbccddeeff"
	Secret  = "secret-of-the-api-key-0123456789"
	Sender  = "+14155550000"
	Service = "MG00112233445566778899aabbccddeeff"
)

// Server is Twilio on this machine. Its Log has every request to Messages; the ID of one is the number that it is
// to, because a message has no id before Twilio makes one.
type Server struct {
	*provider.HTTPS

	now func() time.Time

	mu      sync.Mutex
	numbers map[string]Number
}

// Number is what the server knows of one number.
type Number struct {
	// Code is the error with which every message to it is refused: 21610 after a STOP, 21614 for what is no
	// mobile.
	Code int
	// Fails makes the message and says at once that it has failed with this code, as for 30006.
	Fails int
}

// Start begins to serve.
func Start(now func() time.Time) (*Server, error) {
	s := &Server{now: now, numbers: make(map[string]Number)}
	var err error
	s.HTTPS, err = provider.StartHTTPS(now(), s)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// SetNumber says what is to be known of a number.
func (s *Server) SetNumber(number string, n Number) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers[number] = n
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := func(body []byte) string {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return ""
		}
		return form.Get("To")
	}
	s.Serve(w, r, s.now(), to, to, func(body []byte) provider.Answer { return s.judge(r, body) }, refuse)
}

// judge does what Twilio does with a request.
func (s *Server) judge(r *http.Request, body []byte) provider.Answer {
	user, password, _ := r.BasicAuth()
	if !known(user, password) {
		return refuse(http.StatusUnauthorized, "20003")
	}
	if r.URL.Path != "/2010-04-01/Accounts/"+Account+"/Messages.json" {
		return refuse(http.StatusNotFound, "20404")
	}
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "20004")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return refuse(http.StatusBadRequest, "20001")
	}
	if code := check(form); code != "" {
		return refuse(http.StatusBadRequest, code)
	}
	s.mu.Lock()
	number := s.numbers[form.Get("To")]
	s.mu.Unlock()
	if number.Code != 0 {
		return refuse(http.StatusBadRequest, strconv.Itoa(number.Code))
	}
	return s.made(form, number)
}

// known says whether a pair signs in.
func known(user, password string) bool {
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	return same(user, Account) && same(password, Token) || same(user, Key) && same(password, Secret)
}

var (
	e164 = regexp.MustCompile(`^\+[1-9]\d{6,14}$`)
	name = regexp.MustCompile(`^[A-Za-z0-9 ]{1,11}$`)
)

// check validates the parameters of a message, "" for none that is wrong.
func check(form url.Values) string {
	from, service := form.Get("From"), form.Get("MessagingServiceSid")
	switch to := form.Get("To"); {
	case to == "":
		return "21604"
	case !e164.MatchString(to):
		return "21211"
	case to == from:
		return "21266"
	case from == "" && service == "":
		return "21603"
	case service != "" && service != Service:
		return "21705"
	case strings.HasPrefix(from, "+") && from != Sender && service != "":
		return "21712"
	case strings.HasPrefix(from, "+") && from != Sender:
		return "21660"
	case from != "" && !strings.HasPrefix(from, "+") && !name.MatchString(from):
		return "21212"
	}
	if form.Get("Body") == "" {
		return "21602"
	}
	if utf8.RuneCountInString(form.Get("Body")) > 1600 {
		return "21617"
	}
	if at := form.Get("StatusCallback"); at != "" {
		if u, err := url.Parse(at); err != nil || u.Host == "" {
			return "21609"
		}
	}
	if text := form.Get("ValidityPeriod"); text != "" {
		if n, err := strconv.Atoi(text); err != nil || n < 1 || n > 36000 {
			return "90007"
		}
	}
	return ""
}

// made is the answer with a new message.
func (s *Server) made(form url.Values, number Number) provider.Answer {
	var id [16]byte
	rand.Read(id[:])
	at := s.now().UTC().Format(time.RFC1123Z)
	message := map[string]any{
		"sid": "SM" + hex.EncodeToString(id[:]), "account_sid": Account, "api_version": "2010-04-01", "body": form.Get("Body"),
		"date_created": at, "date_updated": at, "date_sent": nil, "direction": "outbound-api", "error_code": nil, "error_message": nil,
		"from": nil, "messaging_service_sid": nil, "num_media": "0", "price": nil, "price_unit": nil, "status": "queued", "to": form.Get("To"),
		"uri": "/2010-04-01/Accounts/" + Account + "/Messages/SM" + hex.EncodeToString(id[:]) + ".json",
	}
	if service := form.Get("MessagingServiceSid"); service != "" {
		message["messaging_service_sid"], message["status"] = service, "accepted"
	}
	if from := form.Get("From"); from != "" {
		message["from"] = from
	}
	code := ""
	if number.Fails != 0 {
		code = strconv.Itoa(number.Fails)
		message["status"], message["error_code"], message["error_message"] = "failed", number.Fails, says(number.Fails)
	}
	raw, err := json.Marshal(message)
	if err != nil {
		return refuse(http.StatusInternalServerError, "20500")
	}
	return provider.Answer{Status: http.StatusCreated, Code: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: raw}
}

// refuse is Twilio's error.
func refuse(status int, code string) provider.Answer {
	n, err := strconv.Atoi(code)
	if err != nil {
		n = 20000 + status
	}
	raw, err := json.Marshal(map[string]any{
		"code": n, "message": says(n), "more_info": fmt.Sprintf("https://www.twilio.com/docs/errors/%d", n), "status": status,
	})
	if err != nil {
		raw = nil
	}
	return provider.Answer{Status: status, Code: strconv.Itoa(n), Header: http.Header{"Content-Type": {"application/json"}}, Body: raw}
}

// says words the errors that the server itself decides on.
func says(code int) string {
	switch code {
	case 20003:
		return "Authenticate"
	case 20404:
		return "The requested resource was not found"
	case 21211:
		return "Invalid 'To' Phone Number"
	case 21602:
		return "Message body is required."
	case 21604:
		return "A 'To' phone number is required."
	case 21610:
		return "Attempt to send to unsubscribed recipient"
	case 21617:
		return "The concatenated message body exceeds the 1600 character limit"
	}
	return fmt.Sprintf("Error %d", code)
}
