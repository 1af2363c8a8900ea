package snsd

import (
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"nudge/channels/channeltest/provider"
)

// SNS's limits for a message that is no text message, and for one to a device.
const (
	maxMessage = 256 << 10
	maxPush    = 4096
)

var (
	e164   = regexp.MustCompile(`^\+[1-9]\d{6,14}$`)
	sender = regexp.MustCompile(`^[A-Za-z0-9-]{1,11}$`)
	name   = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	digits = regexp.MustCompile(`^\d{1,9}$`)
)

// publish does Publish. The caller holds the lock, here and below.
func (s *Server) publish(form url.Values) provider.Answer {
	number, target, topic := form.Get("PhoneNumber"), form.Get("TargetArn"), form.Get("TopicArn")
	switch {
	case number == "" && target == "" && topic == "":
		return invalid("TopicArn or TargetArn Reason: no value for required parameter")
	case number != "" && target+topic != "" || target != "" && topic != "":
		return invalid("more than one of PhoneNumber, TargetArn and TopicArn")
	case number != "":
		if why := checkText(form); why != "" {
			return invalid(why)
		}
		if s.opted[number] {
			return refuse(http.StatusBadRequest, "OptedOut", "The phone number "+number+" is opted out")
		}
	case topic != "":
		if topic != Topic && topic != FIFO {
			return refuse(http.StatusNotFound, "NotFound", "Topic does not exist")
		}
		if why := checkMessage(form, "", topic == FIFO); why != "" {
			return invalid(why)
		}
	default:
		if refused := s.toEndpoint(form, target); refused != nil {
			return *refused
		}
	}
	var answer struct {
		XMLName xml.Name `xml:"http://sns.amazonaws.com/doc/2010-03-31/ PublishResponse"`
		Message string   `xml:"PublishResult>MessageId"`
		Request string   `xml:"ResponseMetadata>RequestId"`
	}
	answer.Message, answer.Request = newID(), newID()
	return encode(http.StatusOK, "", answer)
}

// toEndpoint refuses what SNS would not hand to a device's service.
func (s *Server) toEndpoint(form url.Values, target string) *provider.Answer {
	var answer provider.Answer
	e := s.endpoints[target]
	switch {
	case e == nil:
		answer = invalid("TargetArn Reason: No endpoint found for the target arn specified")
	case e.disabled:
		answer = refuse(http.StatusBadRequest, "EndpointDisabled", "Endpoint is disabled")
	case s.disabled[e.app]:
		answer = refuse(http.StatusBadRequest, "PlatformApplicationDisabled", "Platform application is disabled")
	default:
		why := checkMessage(form, "", false)
		platform := strings.Split(target, "/")[1]
		var parts map[string]string
		if why == "" && form.Get("MessageStructure") == "json" && (json.Unmarshal([]byte(form.Get("Message")), &parts) != nil || parts[platform] == "") {
			why = "Message Reason: there is no part for " + platform
		}
		if why == "" {
			return nil
		}
		answer = invalid(why)
	}
	return &answer
}

// entriesOf are the prefixes of a batch's entries.
func entriesOf(form url.Values) []string {
	var entries []string
	for i := 1; ; i++ {
		prefix := fmt.Sprintf("PublishBatchRequestEntries.member.%d.", i)
		if !form.Has(prefix + "Id") {
			return entries
		}
		entries = append(entries, prefix)
	}
}

// publishBatch does PublishBatch.
func (s *Server) publishBatch(form url.Values) provider.Answer {
	topic, entries := form.Get("TopicArn"), entriesOf(form)
	if topic != Topic && topic != FIFO {
		return refuse(http.StatusNotFound, "NotFound", "Topic does not exist")
	}
	size, ids := 0, make(map[string]bool)
	for _, e := range entries {
		size += sizeOf(form, e)
		ids[form.Get(e+"Id")] = true
		if id := form.Get(e + "Id"); len(id) > 80 || !name.MatchString(id) || strings.Contains(id, ".") {
			return refuse(http.StatusBadRequest, "InvalidBatchEntryId", "")
		}
	}
	switch {
	case len(entries) == 0:
		return refuse(http.StatusBadRequest, "EmptyBatchRequest", "")
	case len(entries) > 10:
		return refuse(http.StatusBadRequest, "TooManyEntriesInBatchRequest", "")
	case len(ids) < len(entries):
		return refuse(http.StatusBadRequest, "BatchEntryIdsNotDistinct", "")
	case size > maxMessage:
		return refuse(http.StatusBadRequest, "BatchRequestTooLong", "")
	}
	type done struct {
		ID       string `xml:"Id"`
		Message  string `xml:"MessageId"`
		Sequence string `xml:"SequenceNumber,omitempty"`
	}
	type failed struct {
		ID      string `xml:"Id"`
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
		Sender  bool   `xml:"SenderFault"`
	}
	var answer struct {
		XMLName xml.Name `xml:"http://sns.amazonaws.com/doc/2010-03-31/ PublishBatchResponse"`
		Done    []done   `xml:"PublishBatchResult>Successful>member"`
		Failed  []failed `xml:"PublishBatchResult>Failed>member"`
		Request string   `xml:"ResponseMetadata>RequestId"`
	}
	answer.Request = newID()
	for _, e := range entries {
		id := form.Get(e + "Id")
		if s.fails != nil {
			if code, ours := s.fails(attributesOf(form, e)["id"].value); code != "" {
				answer.Failed = append(answer.Failed, failed{id, code, "The message was refused: " + code, !ours})
				continue
			}
		}
		if why := checkMessage(form, e, topic == FIFO); why != "" {
			answer.Failed = append(answer.Failed, failed{id, "InvalidParameter", "Invalid parameter: " + why, true})
			continue
		}
		d := done{ID: id, Message: newID()}
		if topic == FIFO {
			d.Sequence = "10000000000000003000"
			d.Message = s.once(topic+" "+form.Get(e+"MessageDeduplicationId"), d.Message)
		}
		answer.Done = append(answer.Done, d)
	}
	return encode(http.StatusOK, "", answer)
}

// once is the first message id that came with a deduplication id. Five minutes are not counted: no test is that long.
func (s *Server) once(key, id string) string {
	if first, seen := s.seen[key]; seen {
		return first
	}
	s.seen[key] = id
	return id
}

// create does CreatePlatformEndpoint.
func (s *Server) create(form url.Values) provider.Answer {
	app, token, custom := form.Get("PlatformApplicationArn"), form.Get("Token"), form.Get("CustomUserData")
	switch {
	case !slices.Contains([]string{APNS, Sandbox, GCM}, app):
		return refuse(http.StatusNotFound, "NotFound", "PlatformApplication does not exist")
	case token == "":
		return invalid("Token Reason: cannot be empty")
	case app != GCM && (len(token) > 400 || strings.Trim(token, "0123456789abcdefABCDEF") != ""):
		return invalid("Token Reason: iOS device tokens must be no more than 400 hexadecimal characters")
	}
	if e := s.endpoints[EndpointOf(app, token)]; e != nil && e.custom != custom {
		return invalid("Token Reason: Endpoint " + EndpointOf(app, token) + " already exists with the same Token, but different attributes.")
	}
	var answer struct {
		XMLName  xml.Name `xml:"http://sns.amazonaws.com/doc/2010-03-31/ CreatePlatformEndpointResponse"`
		Endpoint string   `xml:"CreatePlatformEndpointResult>EndpointArn"`
		Request  string   `xml:"ResponseMetadata>RequestId"`
	}
	answer.Endpoint, answer.Request = s.register(app, token, custom), newID()
	return encode(http.StatusOK, "", answer)
}

// EndpointOf is the ARN that the endpoint of a token has: SNS makes it of the application and the token.
func EndpointOf(app, token string) string {
	sum := sha256.Sum256([]byte(app + " " + token))
	return fmt.Sprintf("%s/%x-%x-%x-%x-%x", strings.Replace(app, ":app/", ":endpoint/", 1), sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// register is the endpoint of a token, a new one where there is none.
func (s *Server) register(app, token, custom string) string {
	arn := EndpointOf(app, token)
	if s.endpoints[arn] == nil {
		s.endpoints[arn] = &endpoint{app: app, token: token, custom: custom}
	}
	return arn
}

// look does the actions that tell the attributes of a topic or a platform application.
func (s *Server) look(arn, action string) provider.Answer {
	type pair struct {
		Key   string `xml:"key"`
		Value string `xml:"value"`
	}
	var answer struct {
		XMLName    xml.Name
		Attributes struct {
			XMLName xml.Name
			Entries []pair `xml:"Attributes>entry"`
		}
		Request string `xml:"ResponseMetadata>RequestId"`
	}
	known := []string{Topic, FIFO}
	if action == "GetPlatformApplicationAttributes" {
		known = []string{APNS, Sandbox, GCM}
	}
	switch {
	case !s.mayLook:
		return refuse(http.StatusForbidden, "AuthorizationError", "User is not authorized to perform: SNS:"+action+" on resource: "+arn)
	case !slices.Contains(known, arn):
		return refuse(http.StatusNotFound, "NotFound", "does not exist")
	}
	answer.XMLName = xml.Name{Space: "http://sns.amazonaws.com/doc/2010-03-31/", Local: action + "Response"}
	answer.Attributes.XMLName.Local = action + "Result"
	answer.Attributes.Entries = []pair{{"Enabled", strconv.FormatBool(!s.disabled[arn])}}
	answer.Request = newID()
	return encode(http.StatusOK, "", answer)
}

// value is a message attribute's.
type value struct{ kind, value string }

// attributesOf are the message attributes of a request, or of the entry with a prefix.
func attributesOf(form url.Values, prefix string) map[string]value {
	attributes := make(map[string]value)
	for i := 1; ; i++ {
		at := fmt.Sprintf("%sMessageAttributes.entry.%d.", prefix, i)
		if !form.Has(at + "Name") {
			return attributes
		}
		attributes[form.Get(at+"Name")] = value{form.Get(at + "Value.DataType"), form.Get(at + "Value.StringValue")}
	}
}

// sizeOf is how much of SNS's limit a message takes.
func sizeOf(form url.Values, prefix string) int {
	size := len(form.Get(prefix + "Message"))
	for name, v := range attributesOf(form, prefix) {
		size += len(name) + len(v.kind) + len(v.value)
	}
	return size
}

// checkText validates the parameters of a text message, "" for none that is wrong.
func checkText(form url.Values) string {
	number, text := form.Get("PhoneNumber"), form.Get("Message")
	switch {
	case !e164.MatchString(number):
		return "PhoneNumber Reason: " + number + " is not valid to publish to"
	case text == "":
		return "Empty message"
	case utf8.RuneCountInString(text) > 1600:
		return "Message too long"
	}
	return checkAttributes(form, "")
}

// checkMessage validates the parameters of a message to a topic or an endpoint, "" for none that is wrong.
func checkMessage(form url.Values, prefix string, fifo bool) string {
	text, subject := form.Get(prefix+"Message"), form.Get(prefix+"Subject")
	group, once := form.Get(prefix+"MessageGroupId"), form.Get(prefix+"MessageDeduplicationId")
	switch {
	case text == "":
		return "Empty message"
	case sizeOf(form, prefix) > maxMessage:
		return "Message too long"
	case utf8.RuneCountInString(subject) >= 100 || strings.ContainsFunc(subject, unicode.IsControl):
		return "Subject"
	case fifo && group == "":
		return "The MessageGroupId parameter is required for FIFO topics"
	case fifo && once == "":
		return "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
	case !fifo && once != "":
		return "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type"
	}
	switch form.Get(prefix + "MessageStructure") {
	case "":
	case "json":
		if why := checkParts(text); why != "" {
			return why
		}
	default:
		return "MessageStructure"
	}
	return checkAttributes(form, prefix)
}

// protocols are the keys of a structured message.
func protocols() []string {
	return []string{
		"default", "email", "email-json", "sms", "http", "https", "sqs", "lambda", "firehose", "application", "APNS", "APNS_SANDBOX", "GCM",
	}
}

// checkParts validates a structured message.
func checkParts(text string) string {
	var parts map[string]any
	if json.Unmarshal([]byte(text), &parts) != nil {
		return "Message Structure - JSON message body failed to parse"
	}
	if _, ok := parts["default"].(string); !ok {
		return "Message Structure - No default entry in JSON message body"
	}
	for protocol, part := range parts {
		text, ok := part.(string)
		switch {
		case !ok:
			return "Message Structure - JSON message body: " + protocol + " is not a string"
		case !slices.Contains(protocols(), protocol): // SNS ignores it; here it is a mistake of ours
			return "Message Structure - unknown protocol " + protocol
		case strings.HasPrefix(protocol, "APNS") && !validAPNS(text):
			return "Message Reason: Invalid notification for protocol " + protocol
		case protocol == "GCM" && !validFCM(text):
			return "Message Reason: Invalid notification for protocol GCM"
		}
	}
	return ""
}

// validAPNS says whether a text is a payload for Apple.
func validAPNS(text string) bool {
	var payload struct {
		APS map[string]any `json:"aps"`
	}
	return len(text) <= maxPush && json.Unmarshal([]byte(text), &payload) == nil && len(payload.APS) > 0
}

// validFCM says whether a text is a message of FCM v1, for whom SNS says itself.
func validFCM(text string) bool {
	var payload struct {
		V1 struct {
			Message map[string]any `json:"message"`
		} `json:"fcmV1Message"`
	}
	if json.Unmarshal([]byte(text), &payload) != nil || len(payload.V1.Message) == 0 {
		return false
	}
	for _, target := range []string{"token", "topic", "condition"} {
		if _, given := payload.V1.Message[target]; given {
			return false
		}
	}
	return true
}

// checkAttributes validates message attributes, "" for none that is wrong.
func checkAttributes(form url.Values, prefix string) string {
	for key, v := range attributesOf(form, prefix) {
		ok := v.kind == "String" && v.value != "" && len(key) <= 256 && name.MatchString(key)
		switch {
		case key == "AWS.SNS.SMS.SMSType":
			ok = ok && (v.value == "Promotional" || v.value == "Transactional")
		case key == "AWS.SNS.SMS.SenderID":
			ok = ok && sender.MatchString(v.value)
		case key == "AWS.MM.SMS.OriginationNumber":
			ok = ok && e164.MatchString(v.value)
		case key == "AWS.SNS.MOBILE.APNS.PUSH_TYPE":
			ok = ok && (v.value == "alert" || v.value == "background")
		case key == "AWS.SNS.MOBILE.APNS.PRIORITY":
			ok = ok && (v.value == "5" || v.value == "10")
		case key == "AWS.SNS.MOBILE.APNS.COLLAPSE_ID":
			ok = ok && len(v.value) <= 64
		case slices.Contains([]string{"AWS.SNS.MOBILE.APNS.TTL", "AWS.SNS.MOBILE.APNS_SANDBOX.TTL", "AWS.SNS.MOBILE.FCM.TTL"}, key):
			ok = ok && digits.MatchString(v.value)
		case strings.HasPrefix(strings.ToLower(key), "aws.") || strings.HasPrefix(strings.ToLower(key), "amazon."):
			ok = false
		}
		if !ok {
			return "The message attribute '" + key + "' is not valid"
		}
	}
	return ""
}
