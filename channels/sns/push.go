package sns

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"nudge/channels"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// maxPush is the limit of Apple and of Google for what a device gets, in bytes.
const maxPush = 4096

// Forms of the names (ARNs) of SNS's things. The first group is the region, the second the platform.
var (
	endpointARN    = regexp.MustCompile(`^arn:aws[a-z-]*:sns:([a-z0-9-]+):\d{12}:endpoint/([A-Z_]+)/[A-Za-z0-9_.-]+/[0-9A-Fa-f-]+$`)
	applicationARN = regexp.MustCompile(`^arn:aws[a-z-]*:sns:([a-z0-9-]+):\d{12}:app/([A-Z_]+)/[A-Za-z0-9_.-]+$`)
)

// PushSpec describes the adapter of pushes to endpoints of platform applications.
func PushSpec() channels.Spec {
	return channels.Spec{
		Name: "sns_push",
		Kind: "push",
		About: "Pushes to iOS and Android through Amazon SNS's platform endpoints. A device's token is the ARN of its endpoint, where the app's servers make endpoints; or, with `applications`, the token that Apple or Google gave it, of which nudge makes an endpoint with the first push. " +
			"What the device gets is what the adapters apns and fcm send. A disabled endpoint counts as a dead token. That a push was accepted says that SNS has it; whether Apple or Google took it stands in CloudWatch, if delivery status logging is on.",
		Config: accountFields(
			channels.Field{Name: "applications", Type: "map", Example: "{ios: arn:aws:sns:eu-central-1:123456789012:app/APNS/shop, android: arn:aws:sns:eu-central-1:123456789012:app/GCM/shop}", About: "platform applications by platform: ios, ios_sandbox, android. With it, devices of these platforms alone are served, by tokens too. For a second app, list the adapter again, with `apps`"},
		),
		Message: channels.PushFields("title", "body", "link", "image", "actions", "data", "sound", "badge", "collapse", "silent", "ttl",
			"subtitle", "category", "thread", "mutable", "interruption", "relevance", "channel_id", "click_action", "icon", "color"),
		Needs:       "token",
		Platforms:   []string{"ios", "android"},
		Takes:       endpointARN.MatchString,
		Fit:         fitPush,
		MaxPayload:  maxPush,
		Measure:     measurePush,
		Batch:       100,
		Concurrency: 2,
		Repeat:      channels.RepeatHarmless,
		Answers:     endpointAnswers(),
		Tried:       "Tried against a local server that follows AWS's documentation (Publish to endpoints, CreatePlatformEndpoint, payloads for APNs and FCM v1, errors, signatures of version 4). Not tried against AWS: that takes an account and platform applications.",
		New:         openPush,
	}
}

// applications are the words for platform applications, and the platforms of SNS that each may be of.
func applications() map[string][]string {
	return map[string][]string{"ios": {"APNS", "APNS_SANDBOX"}, "ios_sandbox": {"APNS_SANDBOX"}, "android": {"GCM"}}
}

// fitPush lets an adapter with applications take any token, of their platforms.
func fitPush(spec *channels.Spec, config map[string]any) {
	apps, ok := config["applications"].(map[string]any)
	if !ok || len(apps) == 0 {
		return
	}
	spec.Takes = nil
	spec.Platforms = slices.DeleteFunc(slices.Clone(spec.Platforms), func(platform string) bool {
		return !slices.ContainsFunc(slices.Collect(maps.Keys(apps)), func(name string) bool { return strings.HasPrefix(name, platform) })
	})
}

// pushSettings is the config.
type pushSettings struct {
	account

	Applications map[string]any `json:"applications"`
}

// check finds the first mistake that the spec's fields do not show.
func (s *pushSettings) check() error {
	if err := s.account.check(); err != nil {
		return err
	}
	known := applications()
	for _, name := range slices.Sorted(maps.Keys(s.Applications)) {
		field := "applications." + name
		arn, _ := s.Applications[name].(string)
		parts := applicationARN.FindStringSubmatch(arn)
		switch {
		case known[name] == nil:
			return bad(field, "is not a platform", "there are android, ios, ios_sandbox")
		case parts == nil || !slices.Contains(known[name], parts[2]):
			return bad(field, "is not the ARN of a platform application for "+strings.Join(known[name], " or "), "for example arn:aws:sns:"+s.Region+":123456789012:app/"+known[name][0]+"/shop")
		case parts[1] != s.Region:
			return bad(field, "is of another region", "the adapter's is "+s.Region)
		}
	}
	return nil
}

// pusher is the channel.
type pusher struct {
	*client

	region string
	apps   map[string]string
	made   endpoints
}

// openPush makes a channel; it does not connect.
func openPush(o channels.Options) (channels.Channel, error) {
	var s pushSettings
	if err := PushSpec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	client, err := connect(o, "sns_push", &s.account, s.check, endpointAnswers())
	if err != nil {
		return nil, err
	}
	c := &pusher{client: client, region: s.Region, apps: make(map[string]string)}
	for name, arn := range s.Applications {
		c.apps[name], _ = arn.(string) // the check has seen to that
	}
	return c, nil
}

// Send implements channels.Channel.
func (c *pusher) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.push)
}

// Test implements channels.Tester: it looks at the platform applications. A key that may publish alone may not look;
// then, as without applications, it publishes to nobody.
func (c *pusher) Test(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(c.apps)) {
		arn, enabled := c.apps[name], true
		failure := c.call(ctx, func(ctx context.Context) error {
			out, err := c.api.GetPlatformApplicationAttributes(ctx, &sns.GetPlatformApplicationAttributesInput{PlatformApplicationArn: &arn})
			if err == nil {
				enabled = out.Attributes["Enabled"] != "false"
			}
			return err //nolint:wrapcheck // it is looked into, and never shown
		})
		switch {
		case failure != nil && failure.Code == "AuthorizationError":
		case failure != nil:
			if failure.Class == channels.ClassAddress {
				failure.Class = channels.ClassCredential // what is not there is the application
			}
			return fmt.Errorf("asking %s for applications.%s: %w", c.host, name, failure)
		case !enabled:
			return fmt.Errorf("asking %s: the platform application of applications.%s is disabled: its key at Apple or Google is not valid any more", c.host, name)
		}
	}
	return c.silent(ctx, &sns.PublishInput{Message: aws.String("test")})
}

// push sends one message.
func (c *pusher) push(ctx context.Context, m *channels.Message) channels.Result {
	token := strings.TrimSpace(m.Address.Token)
	hidden := []string{token, url.QueryEscape(token), m.Signed}
	failed := func(failure *channels.DeliveryError) channels.Result {
		failure.Err = fmt.Errorf("pushing to %s: %w", channels.ShortToken(token), failure.Err)
		return channels.Result{Err: failure}
	}
	app, platform, err := c.platform(m, token)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	message, size, err := pushMessage(m, platform)
	if err == nil && size > maxPush {
		err = refuse(channels.ClassMessage, "too_large", "the payload has %d bytes, the device's service takes %d: shorten the texts or the data", size, maxPush)
	}
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	attributes, err := pushAttributes(m, platform)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	arn := token
	if app != "" {
		var failure *channels.DeliveryError
		if arn, failure = c.endpoint(ctx, app, token, hidden...); failure != nil {
			return failed(failure)
		}
	}
	id, failure := c.publish(ctx, &sns.PublishInput{
		TargetArn: &arn, Message: &message, MessageStructure: aws.String("json"), MessageAttributes: attributes,
	}, append(hidden, arn, url.QueryEscape(arn))...)
	if failure == nil {
		return channels.Result{ProviderID: id}
	}
	if app != "" && failure.Class == channels.ClassAddress && failure.Code != "EndpointDisabled" {
		c.made.drop(app, token) // somebody has deleted it, which says nothing about the token
		failure.Class = channels.ClassTemporary
	}
	return failed(failure)
}

// platform is the word by which SNS knows the device's service, and the application that its token is of; app is ""
// where the token is the ARN of an endpoint.
func (c *pusher) platform(m *channels.Message, token string) (app, platform string, err error) {
	if parts := endpointARN.FindStringSubmatch(token); parts != nil {
		switch {
		case parts[1] != c.region:
			return "", "", refuse(channels.ClassMessage, "region", "the endpoint %s is of the region %s, and the adapter's is %s", channels.ShortToken(token), parts[1], c.region)
		case !slices.Contains([]string{"APNS", "APNS_SANDBOX", "GCM"}, parts[2]):
			return "", "", refuse(channels.ClassMessage, "platform", "the endpoint %s is of the platform %s: there are payloads for APNS, APNS_SANDBOX and GCM", channels.ShortToken(token), parts[2])
		}
		return "", parts[2], nil
	}
	app = c.apps[m.Address.Platform]
	if m.Address.Platform == "ios" && m.Address.Environment == "sandbox" {
		app = cmp.Or(c.apps["ios_sandbox"], app)
	}
	switch {
	case token == "" || len(token) > 4096:
		return "", "", refuse(channels.ClassAddress, "not_a_token", "there is no device token")
	case app == "":
		return "", "", refuse(channels.ClassMessage, "no_application", "%s is not the ARN of an endpoint, and there is no application for %q in the config's applications", channels.ShortToken(token), m.Address.Platform)
	}
	return app, applicationARN.FindStringSubmatch(app)[2], nil
}

// existing is an endpoint's ARN in SNS's complaint that the token has one already, with attributes of somebody else.
var existing = regexp.MustCompile(`Endpoint (arn:\S+:endpoint/\S+) already exists with the same Token`)

// endpoint is the ARN of the endpoint of a device's token, which is made where there is none.
func (c *pusher) endpoint(ctx context.Context, app, token string, hidden ...string) (string, *channels.DeliveryError) {
	if arn := c.made.get(app, token); arn != "" {
		return arn, nil
	}
	var arn, message string
	failure := c.call(ctx, func(ctx context.Context) error {
		out, err := c.api.CreatePlatformEndpoint(ctx, &sns.CreatePlatformEndpointInput{PlatformApplicationArn: &app, Token: &token})
		if err == nil {
			arn = aws.ToString(out.EndpointArn)
		}
		_, message = said(err)
		return err //nolint:wrapcheck // it is looked into, and never shown
	}, hidden...)
	if parts := existing.FindStringSubmatch(message); failure != nil && parts != nil {
		arn, failure = parts[1], nil
	}
	switch {
	case failure != nil && (failure.Code == "NotFound" || strings.Contains(message, "PlatformApplicationArn")):
		failure.Class = channels.ClassCredential // the application is not there
		return "", failure
	case failure != nil:
		return "", failure
	case !endpointARN.MatchString(arn):
		return "", &channels.DeliveryError{Class: channels.ClassTemporary, Code: "no_endpoint", Err: fmt.Errorf("%s made an endpoint and did not say which", c.host)}
	}
	c.made.put(app, token, arn)
	return arn, nil
}

// most is how many endpoints are remembered; somewhat below it the older half is forgotten, and asked for again.
const most = 100_000

// endpoints remembers the endpoints of tokens. The zero value is ready.
type endpoints struct {
	mu         sync.Mutex
	young, old map[string]string
}

func (e *endpoints) get(app, token string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return cmp.Or(e.young[app+" "+token], e.old[app+" "+token])
}

func (e *endpoints) put(app, token, arn string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.young == nil || len(e.young) >= most/2 {
		e.young, e.old = make(map[string]string), e.young
	}
	e.young[app+" "+token] = arn
}

func (e *endpoints) drop(app, token string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.young, app+" "+token)
	delete(e.old, app+" "+token)
}
