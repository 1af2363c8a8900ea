package sns

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/fcm"

	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// What a message of MessageStructure json is made of: AWS's pages "Publishing Amazon SNS notifications with
// platform-specific payloads", "Using FCM v1 payloads" and "Amazon SNS message attributes for mobile push".

// refuse is an error of these adapters' own, before anything is sent.
func refuse(class channels.Class, code, format string, args ...any) error {
	return &channels.DeliveryError{Class: class, Code: code, Err: fmt.Errorf(format, args...)}
}

// structured is a message that says something of its own to each protocol.
func structured(parts map[string]string) (string, error) {
	raw, err := json.Marshal(parts)
	if err != nil {
		return "", refuse(channels.ClassMessage, "json", "encoding the message: %w", err)
	}
	return string(raw), nil
}

// payload is what a device of a platform gets, and its size as its service counts it, in bytes.
func payload(m *channels.Message, platform string) (text string, size int, err error) {
	if platform != "GCM" {
		raw, err := apns.Payload(m)
		return string(raw), len(raw), err //nolint:wrapcheck // it is a *channels.DeliveryError
	}
	android := *m
	android.Address.Platform = "android"
	content, err := fcm.Content(&android)
	if err != nil {
		return "", 0, err //nolint:wrapcheck // it is a *channels.DeliveryError
	}
	raw, err := json.Marshal(map[string]any{"fcmV1Message": map[string]any{"message": content}})
	if err != nil {
		return "", 0, refuse(channels.ClassMessage, "json", "encoding the payload: %w", err)
	}
	return string(raw), fcm.Size(content), nil
}

// pushMessage is the message to an endpoint of a platform, and the size of its payload.
func pushMessage(m *channels.Message, platform string) (string, int, error) {
	part, size, err := payload(m, platform)
	if err != nil {
		return "", 0, err
	}
	text, err := structured(map[string]string{"default": cmp.Or(m.Text("body"), m.Text("title"), "…"), platform: part})
	return text, size, err
}

// measurePush is how many bytes of its service's limit a push takes: by the device, and where there is none as for
// iOS, which counts more.
func measurePush(m *channels.Message) (int, error) {
	platform := "APNS"
	if m.Address.Platform == "android" {
		platform = "GCM"
	}
	_, size, err := payload(m, platform)
	return size, err
}

// pushAttributes are what SNS tells the service of a platform beside the payload.
func pushAttributes(m *channels.Message, platform string) (map[string]types.MessageAttributeValue, error) {
	ttl, err := m.Lifetime()
	if err != nil {
		return nil, err //nolint:wrapcheck // it is a *channels.DeliveryError
	}
	attributes := lifetime(ttl, platform)
	if platform == "GCM" { // the rest stands in the payload
		return attributes, nil
	}
	kind, priority := "alert", "5"
	switch {
	case m.Flag("silent"):
		kind = "background" // only ever at low priority
	case m.Urgent:
		priority = "10"
	}
	attributes["AWS.SNS.MOBILE.APNS.PUSH_TYPE"] = attribute(kind)
	attributes["AWS.SNS.MOBILE.APNS.PRIORITY"] = attribute(priority)
	attributes["AWS.SNS.MOBILE.APNS.COLLAPSE_ID"] = attribute(apns.CollapseID(m))
	return attributes, nil
}

// longestPush is the most that a service keeps a push: Google's four weeks.
const longestPush = 28 * 24 * time.Hour

// lifetime are the attributes for how long services of platforms keep trying; ttl 0 is their default.
func lifetime(ttl time.Duration, platforms ...string) map[string]types.MessageAttributeValue {
	attributes := make(map[string]types.MessageAttributeValue)
	if ttl <= 0 {
		return attributes
	}
	seconds := strconv.FormatInt(max(1, int64(min(ttl, longestPush)/time.Second)), 10)
	for _, platform := range platforms {
		attributes["AWS.SNS.MOBILE."+strings.Replace(platform, "GCM", "FCM", 1)+".TTL"] = attribute(seconds)
	}
	return attributes
}
