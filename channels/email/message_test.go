package email_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"mime"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/smtpd"
	"nudge/channels/email"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// arrived is a message as the server read it.
type arrived struct {
	From   string               `json:"from"`
	To     string               `json:"to"`
	Header textproto.MIMEHeader `json:"header"`
	Parts  []smtpd.Part         `json:"parts"`
}

// last is what arrived last.
func last(t require.TestingT, server *smtpd.Server) arrived {
	all := server.Received()
	require.NotEmpty(t, all)
	var a arrived
	require.NoError(t, json.Unmarshal(all[len(all)-1].Body, &a))
	return a
}

// header is a field as a person reads it.
func (a arrived) header(t require.TestingT, name string) string {
	text, err := new(mime.WordDecoder).DecodeHeader(a.Header.Get(name))
	require.NoError(t, err)
	return text
}

func TestMessage(t *testing.T) {
	plain, page := "Sie warten.", "<p>Sie warten.</p>"
	for _, c := range []struct {
		name    string
		with    map[string]any
		message func(m *channels.Message)
		check   func(t *testing.T, m channels.Message, a arrived)
	}{
		{"text and HTML", nil, func(m *channels.Message) {}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "news@shop.example", a.From)
			require.Equal(t, m.Address.Email, a.To)
			require.Equal(t, "Der Schuhladen Größe <news@shop.example>", a.header(t, "From"))
			require.Equal(t, "<"+m.Address.Email+">", a.Header.Get("To"))
			require.Equal(t, "Noch Lust auf die blauen Schuhe Größe 37?", a.header(t, "Subject"))
			require.Equal(t, "<"+channels.UUID(m.Key)+"@shop.example>", a.Header.Get("Message-Id"))
			require.Equal(t, []smtpd.Part{
				{Type: "text/plain", Text: "Sie warten.\n.\nFrom here on: https://shop.example/cart"},
				{Type: "text/html", Text: `<html><body><div style="display:none;max-height:0;overflow:hidden;mso-hide:all">Noch 3 Paar da</div><p>Sie warten. <a href="https://shop.example/cart">Zum Korb</a></p></body></html>`},
			}, a.Parts)
			require.Equal(t, "<https://shop.example/unsubscribe?m="+m.Signed+">", a.Header.Get("List-Unsubscribe"))
			require.Equal(t, "List-Unsubscribe=One-Click", a.Header.Get("List-Unsubscribe-Post"))
		}},
		{"text alone", nil, func(m *channels.Message) { m.Fields = map[string]any{"subject": "Hi", "text": plain} }, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, []smtpd.Part{{Type: "text/plain", Text: plain + "\n"}}, a.Parts)
		}},
		{"HTML alone has a text", nil, func(m *channels.Message) {
			m.Fields = map[string]any{"subject": "Hi", "html": `<html><head><title>No</title><style>p {}</style><body><!-- no --><h1>Hello,  <b>Ann</b> &amp; <i>Bob</i>!</h1>
<p>It waits:<br><a href="https://shop.example/cart">the cart</a>, <a href="https://shop.example">https://shop.example</a></p><ul><li>Shoes</li><li>Socks</li></ul>
<table><tr><td>3</td><td>pairs</td></tr></table><img alt="Logo" src="x"><script>no()</script>`}
		}, func(t *testing.T, m channels.Message, a arrived) {
			require.Len(t, a.Parts, 2)
			require.Equal(t, "Hello, Ann & Bob!\n\nIt waits:\nthe cart (https://shop.example/cart), https://shop.example\n\n- Shoes\n- Socks\n\n3 pairs\nLogo", a.Parts[0].Text)
		}},
		{"a preheader where there is no body tag", nil, func(m *channels.Message) {
			m.Fields = map[string]any{"subject": "Hi", "html": page, "preheader": "5 < 6\n& more"}
		}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, `<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">5 &lt; 6 &amp; more</div>`+page, a.Parts[1].Text)
			require.Equal(t, plain, a.Parts[0].Text)
		}},
		{"another sender, another answer", map[string]any{"reply_to": "help@shop.example"}, func(m *channels.Message) {
			m.Fields["from"], m.Fields["reply_to"] = "Ännchen <ann@Shop.example>", "order-17@elsewhere.example"
		}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "Ännchen <ann@shop.example>", a.header(t, "From"))
			require.Equal(t, "<order-17@elsewhere.example>", a.Header.Get("Reply-To"))
			require.Equal(t, "news@shop.example", a.From)
		}},
		{"the message's own link, with an address beside", map[string]any{"unsubscribe_mailto": "off@shop.example"}, func(m *channels.Message) {
			m.Fields["unsubscribe"] = "https://shop.example/off/ännchen?a=1,2 3>ö"
		}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "<https://shop.example/off/%C3%A4nnchen?a=1,2%203%3E%C3%B6>, <mailto:off@shop.example?subject=unsubscribe>", a.Header.Get("List-Unsubscribe"))
			require.NotEmpty(t, a.Header.Get("List-Unsubscribe-Post"))
		}},
		{"an address alone is no click", map[string]any{"unsubscribe": "", "unsubscribe_mailto": "off@shop.example"}, func(m *channels.Message) {}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "<mailto:off@shop.example?subject=unsubscribe>", a.Header.Get("List-Unsubscribe"))
			require.Empty(t, a.Header.Get("List-Unsubscribe-Post"))
		}},
		{"names in the link", map[string]any{"unsubscribe": "https://shop.example/{{channel}}?u={{ user_id }}&c={{ category }}&r={{rule}}"}, func(m *channels.Message) {
			m.Address.UserID, m.About["channel"] = "a&b=c", "email"
		}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "<https://shop.example/email?u=a%26b%3Dc&c=promotional&r=cart-abandoned>", a.Header.Get("List-Unsubscribe"))
		}},
		{"nobody unsubscribes from a receipt", nil, func(m *channels.Message) { m.About["category"] = "transactional" }, func(t *testing.T, m channels.Message, a arrived) {
			require.Empty(t, a.Header.Get("List-Unsubscribe"))
		}},
		{"a link without its signed id would lead nowhere", nil, func(m *channels.Message) { m.Signed = "" }, func(t *testing.T, m channels.Message, a arrived) {
			require.Empty(t, a.Header.Get("List-Unsubscribe"))
			require.Empty(t, a.Header.Get("List-Unsubscribe-Post"))
		}},
		{"headers", map[string]any{"headers": map[string]any{"x-stream": "all", "X-Kept": 5}}, func(m *channels.Message) {
			m.Fields["headers"] = map[string]any{"X-Stream": "Größe\r\nBcc: eve@evil.example"}
		}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, []string{"5"}, a.Header["X-Kept"])
			require.Equal(t, "Größe Bcc: eve@evil.example", a.header(t, "X-Stream"))
			require.Len(t, a.Header["X-Stream"], 1)
			require.Empty(t, a.Header["Bcc"])
		}},
		{"a subject that wants to be more", nil, func(m *channels.Message) { m.Fields["subject"] = "Hi\r\nBcc: eve@evil.example\r\n\r\nbody" }, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "Hi Bcc: eve@evil.example body", a.header(t, "Subject"))
			require.Empty(t, a.Header["Bcc"])
		}},
		{"bounces by message", map[string]any{"bounce": "bounces@mail.shop.example", "verp": true}, func(m *channels.Message) {}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "bounces+"+channels.UUID(m.Key)+"@mail.shop.example", a.From)
		}},
		{"a domain beyond ASCII", nil, func(m *channels.Message) { m.Address.Email = "Ann.O'Hara+shop@Bücher.example" }, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "Ann.O'Hara+shop@xn--bcher-kva.example", a.To)
		}},
		{"a subject that looks encoded", nil, func(m *channels.Message) {
			m.Fields["subject"] = "=?utf-8?q?Gr=C3=B6=C3=9Fe?= " + strings.Repeat("Größe ", 20)
		}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, "=?utf-8?q?Gr=C3=B6=C3=9Fe?= "+strings.TrimSpace(strings.Repeat("Größe ", 20)), a.header(t, "Subject"))
		}},
		{"lines longer than SMTP has", nil, func(m *channels.Message) {
			m.Fields = map[string]any{"subject": strings.Repeat("long ", 300), "text": strings.Repeat("x", 5000), "html": strings.Repeat("Привет ", 1000)}
		}, func(t *testing.T, m channels.Message, a arrived) {
			require.Equal(t, strings.TrimSpace(strings.Repeat("long ", 300)), a.header(t, "Subject"))
			require.Equal(t, strings.Repeat("x", 5000), a.Parts[0].Text)
			require.Equal(t, strings.Repeat("Привет ", 1000), a.Parts[1].Text)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, time.Now)
			m := letter(1)
			c.message(&m)
			failure := send(t, open(t, config, c.with), m)[0]
			require.Nil(t, failure, "%v", failure)
			c.check(t, m, last(t, server))
		})
	}
}

func TestAddressesBeyondASCII(t *testing.T) {
	m := letter(1)
	m.Address.Email = "jürgen@customers.example"
	_, config := start(t, time.Now)
	failure := send(t, open(t, config, nil), m)[0]
	require.Equal(t, channels.ClassMessage, failure.Class)
	require.ErrorContains(t, failure, "SMTPUTF8")
	require.NotContains(t, failure.Error(), "jürgen")
}

func TestRSA(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	private, lookup := keyOf(t, key, "rsa")
	_, config := start(t, time.Now, func(c *smtpd.Config) { c.Key = lookup })
	require.Nil(t, send(t, open(t, config, map[string]any{"dkim_key": private}), letter(1))[0])
	// The server does look: another's signature does not do.
	failure := send(t, open(t, config, nil), letter(1))[0]
	require.Equal(t, "550 5.7.20", failure.Code)
	require.Equal(t, channels.ClassCredential, failure.Class)
	unsigned := open(t, config, map[string]any{"dkim_key": "", "dkim_selector": ""})
	require.Equal(t, "550 5.7.20", send(t, unsigned, letter(1))[0].Code)
}

func TestWhateverIsWrittenArrives(t *testing.T) {
	server, config := start(t, time.Now)
	channel := open(t, config, map[string]any{"per_connection": 0})
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		m := letter(n)
		subject := rapid.String().Draw(r, "subject") + "x"
		plain, page := rapid.String().Draw(r, "text"), rapid.String().Draw(r, "html")
		m.Fields = map[string]any{"subject": subject, "text": plain, "html": page, "preheader": ""}
		results := channel.Send(t.Context(), []channels.Message{m})
		if strings.TrimSpace(plain) == "" && strings.TrimSpace(page) == "" {
			require.ErrorContains(r, results[0].Err, "neither text nor html")
			return
		}
		if strings.TrimSpace(plain) == "" || strings.TrimSpace(page) == "" { // what the server wants of a part
			return
		}
		require.NoError(r, results[0].Err)
		a := last(r, server)
		require.Equal(r, strings.Join(strings.Fields(subject), " "), a.header(r, "Subject"))
		lines := strings.NewReplacer("\r\n", "\n", "\r", "\n")
		require.Equal(r, lines.Replace(plain), a.Parts[0].Text)
		require.Equal(r, lines.Replace(page), a.Parts[1].Text)
	})
}

func TestRefusedBeforeSending(t *testing.T) {
	for _, c := range []struct {
		name    string
		message func(m *channels.Message)
		class   channels.Class
		want    string
	}{
		{"no address", func(m *channels.Message) { m.Address.Email = "" }, channels.ClassAddress, "the person has no e-mail address"},
		{"not an address", func(m *channels.Message) { m.Address.Email = "ann at customers.example" }, channels.ClassAddress, "is malformed"},
		{"an address with a name", func(m *channels.Message) { m.Address.Email = "Ann <ann@customers.example>" }, channels.ClassAddress, "is malformed"},
		{"two addresses", func(m *channels.Message) { m.Address.Email = "ann@customers.example, bob@customers.example" }, channels.ClassAddress, "is malformed"},
		{"a command in the address", func(m *channels.Message) { m.Address.Email = "ann@customers.example>\r\nRCPT TO:<eve@evil.example" }, channels.ClassAddress, "is malformed"},
		{"a domain that is none", func(m *channels.Message) { m.Address.Email = "ann@-customers-.example" }, channels.ClassAddress, "domain is malformed"},
		{"too long an address", func(m *channels.Message) { m.Address.Email = strings.Repeat("a", 65) + "@customers.example" }, channels.ClassAddress, "too long"},
		{"no subject", func(m *channels.Message) { m.Fields["subject"] = " \n" }, channels.ClassMessage, "subject is empty"},
		{"no text", func(m *channels.Message) { m.Fields = map[string]any{"subject": "Hi", "preheader": "x"} }, channels.ClassMessage, "neither text nor html"},
		{"not UTF-8", func(m *channels.Message) { m.Fields["text"] = "\xff" }, channels.ClassMessage, "not UTF-8"},
		{"another domain", func(m *channels.Message) { m.Fields["from"] = "news@bank.example" }, channels.ClassMessage, "the field from is not an address at shop.example"},
		{"a sender that is none", func(m *channels.Message) { m.Fields["from"] = "The Shop" }, channels.ClassMessage, "the field from is not an e-mail address"},
		{"an answer to nobody", func(m *channels.Message) { m.Fields["reply_to"] = "nobody" }, channels.ClassMessage, "the field reply_to is not an e-mail address"},
		{"a link that is not https", func(m *channels.Message) { m.Fields["unsubscribe"] = "http://shop.example/off" }, channels.ClassMessage, "unsubscribe is not an https link"},
		{"too long a link", func(m *channels.Message) {
			m.Fields["unsubscribe"] = "https://shop.example/" + strings.Repeat("x", 900)
		}, channels.ClassMessage, "unsubscribe is not an https link"},
		{"a header of the adapter's", func(m *channels.Message) { m.Fields["headers"] = map[string]any{"Bcc": "eve@evil.example"} }, channels.ClassMessage, "the field headers has Bcc, which is set by the adapter"},
		{"a header that is none", func(m *channels.Message) { m.Fields["headers"] = map[string]any{"X: y\r\nBcc": "eve"} }, channels.ClassMessage, "is not a header's name"},
		{"headers that are none", func(m *channels.Message) { m.Fields["headers"] = "x" }, channels.ClassMessage, "headers is not a map"},
		{"larger than the server takes", func(m *channels.Message) { m.Fields["text"] = strings.Repeat("x", 2<<20) }, channels.ClassMessage, "and the server takes 1048576"},
		{"larger than is sent", func(m *channels.Message) { m.Fields["text"] = strings.Repeat("x", 10_000_001) }, channels.ClassMessage, "at most 10000000 are sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, time.Now)
			m := letter(1)
			c.message(&m)
			channel := open(t, config, nil)
			failure := send(t, channel, m)[0]
			require.NotNil(t, failure)
			require.Equal(t, c.class, failure.Class)
			require.ErrorContains(t, failure, c.want)
			require.False(t, failure.Class.Retryable())
			require.NotContains(t, failure.Error(), "ann@")
			require.Zero(t, server.Requests())
			require.Nil(t, send(t, channel, letter(2))[0])
			require.LessOrEqual(t, server.Connections(), int64(1))
		})
	}
}

func TestConfigRefusals(t *testing.T) {
	const cut = `-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----`
	for _, c := range []struct{ name, config, want string }{
		{"nothing", `{}`, "host is missing"},
		{"a host with a port", `{"host":"smtp.example:587","from":"a@b.example"}`, "host is not a host's name"},
		{"a port that is none", `{"host":"x","from":"a@b.example","port":70000}`, "port is not a port"},
		{"tls", `{"host":"x","from":"a@b.example","tls":"ssl"}`, "tls is none of starttls, tls and none"},
		{"auth", `{"host":"x","from":"a@b.example","auth":"oauth"}`, "auth is none of auto, plain, login and cram-md5"},
		{"from", `{"host":"x","from":"The Shop"}`, "from is not an e-mail address"},
		{"from beyond ASCII", `{"host":"x","from":"jürgen@b.example"}`, "from is not an address that every server takes"},
		{"a password for nobody", `{"host":"x","from":"a@b.example","password":"hunter2hunter2"}`, "username is missing"},
		{"nobody's password", `{"host":"x","from":"a@b.example","username":"x"}`, "password is missing"},
		{"a password in the clear", `{"host":"x","from":"a@b.example","tls":"none","username":"x","password":"hunter2hunter2"}`, "the password would cross the network in the clear"},
		{"bounce", `{"host":"x","from":"a@b.example","bounce":"B <b@b.example>"}`, "bounce is not a bare e-mail address"},
		{"verp", `{"host":"x","from":"` + strings.Repeat("a", 30) + `@b.example","verp":true}`, "verp makes the bounce address too long"},
		{"reply_to", `{"host":"x","from":"a@b.example","reply_to":"x"}`, "reply_to is not an e-mail address"},
		{"unsubscribe", `{"host":"x","from":"a@b.example","unsubscribe":"http://b.example"}`, "unsubscribe is not an https link"},
		{"unsubscribe with a stranger", `{"host":"x","from":"a@b.example","unsubscribe":"https://b.example/{{ email }}"}`, "unsubscribe names email, which a message does not have"},
		{"unsubscribe with a filter", `{"host":"x","from":"a@b.example","unsubscribe":"https://b.example/{{ user_id | x }}"}`, "unsubscribe has a {{ … }} that is not a name"},
		{"mailto", `{"host":"x","from":"a@b.example","unsubscribe_mailto":"mailto:a@b.example"}`, "unsubscribe_mailto is not a bare e-mail address"},
		{"headers", `{"host":"x","from":"a@b.example","headers":{"Subject":"x"}}`, "headers.Subject is set by the adapter"},
		{"a key that is none", `{"host":"x","from":"a@b.example","dkim_key":"hunter2hunter2","dkim_selector":"s"}`, "dkim_key is not PEM"},
		{"a key cut short", `{"host":"x","from":"a@b.example","dkim_key":"` + cut + `","dkim_selector":"s"}`, "dkim_key is not a private key"},
		{"no selector", `{"host":"x","from":"a@b.example","dkim_key":"hunter2hunter2"}`, "dkim_selector is missing or not a name"},
		{"no key", `{"host":"x","from":"a@b.example","dkim_selector":"s"}`, "dkim_key is missing"},
		{"another's domain", `{"host":"x","from":"a@b.example","dkim_key":"hunter2hunter2","dkim_selector":"s","dkim_domain":"c.example"}`, "dkim_domain is not the domain of from (b.example)"},
		{"connections", `{"host":"x","from":"a@b.example","connections":0}`, "connections is not between 1 and 1000"},
		{"per_connection", `{"host":"x","from":"a@b.example","per_connection":-1}`, "per_connection is below 0"},
		{"timeout", `{"host":"x","from":"a@b.example","timeout":"0s"}`, "timeout is not above 0"},
		{"idle", `{"host":"x","from":"a@b.example","idle":"0s"}`, "idle is not above 0"},
		{"helo", `{"host":"x","from":"a@b.example","helo":"a b"}`, "helo is not a host's name"},
		{"no such ca", `{"host":"x","from":"a@b.example","ca":"nowhere.pem"}`, "ca cannot be read"},
		{"all at once", `{"host":"x","from":"x","tls":"x"}`, "from is not an e-mail address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := email.Spec().New(channels.Options{Config: []byte(c.config), Now: time.Now, Dir: t.TempDir()})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := email.Spec().New(channels.Options{Config: []byte(`{"host":"x","from":"x","tls":"x"}`), Now: time.Now})
	require.ErrorContains(t, err, "tls is none of")
}

func TestASubdomainSigns(t *testing.T) {
	for _, domain := range []string{"shop.example", "mail.shop.example", "SHOP.example"} {
		_, config := start(t, time.Now)
		open(t, config, map[string]any{"dkim_domain": domain, "from": "news@news.shop.example"})
	}
}

func TestARepeatIsTheSameMessage(t *testing.T) {
	server, config := start(t, time.Now)
	m := letter(1)
	server.Script(func(r provider.Request) provider.Fault {
		if r.N == 1 {
			return provider.Fault{Status: 451}
		}
		return provider.Fault{}
	})
	channel := open(t, config, nil)
	require.Equal(t, channels.ClassTemporary, send(t, channel, m)[0].Class)
	require.Nil(t, send(t, channel, m)[0])
	all := server.Received()
	require.Len(t, all, 2)
	require.Equal(t, all[0].Header["Message-Id"], all[1].Header["Message-Id"])
	require.Equal(t, all[0].Header["Content-Type"], all[1].Header["Content-Type"])
}
