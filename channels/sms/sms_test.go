package sms_test

import (
	"strings"
	"testing"
	"unicode/utf16"

	"nudge/channels"
	"nudge/channels/sms"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSegments(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"nothing", "", 0},
		{"one character", "a", 1},
		{"the whole alphabet", "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà", 1},
		{"160 of GSM", strings.Repeat("é", 160), 1},
		{"161 of GSM", strings.Repeat("é", 161), 2},
		{"306 are two parts", strings.Repeat("x", 306), 2},
		{"307 are three", strings.Repeat("x", 307), 3},
		{"459 are three", strings.Repeat("x", 459), 3},
		{"460 are four", strings.Repeat("x", 460), 4},
		{"80 euros", strings.Repeat("€", 80), 1},
		{"81 euros", strings.Repeat("€", 81), 2},
		{"every one of the extension takes two", "\f^{}\\[~]|€" + strings.Repeat("x", 140), 1},
		{"and one more", "\f^{}\\[~]|€" + strings.Repeat("x", 141), 2},
		{"an escape is not cut off: 152, a euro, 152", strings.Repeat("x", 152) + "€" + strings.Repeat("x", 152), 3},
		{"one that fits: 151, a euro, 153", strings.Repeat("x", 151) + "€" + strings.Repeat("x", 153), 2},
		{"70 of UCS-2", strings.Repeat("ж", 70), 1},
		{"71 of UCS-2", strings.Repeat("ж", 71), 2},
		{"134 of UCS-2", strings.Repeat("ж", 134), 2},
		{"135 of UCS-2", strings.Repeat("ж", 135), 3},
		{"one foreign character makes it UCS-2", strings.Repeat("x", 70) + "’", 2},
		{"a capital with an accent is foreign", strings.Repeat("x", 70) + "È", 2},
		{"a small ç is foreign, the capital is not", strings.Repeat("x", 70) + "ç", 2},
		{"a backtick is foreign", strings.Repeat("x", 70) + "`", 2},
		{"a tab is foreign", strings.Repeat("x", 70) + "\t", 2},
		{"what is UCS-2 has no escapes", strings.Repeat("€", 69) + "ж", 1},
		{"35 emoji", strings.Repeat("🎉", 35), 1},
		{"36 emoji", strings.Repeat("🎉", 36), 2},
		{"a pair is not cut: 66 of 134 and then some", strings.Repeat("🎉", 66), 2},
		{"which 67 would be without the cut", strings.Repeat("🎉", 67), 3},
		{"bytes that are no text", strings.Repeat("\xff", 70), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, sms.Segments(c.text))
		})
	}
}

func TestSegmentsHoldsTheText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.SampledFrom([]string{"ab €", "ab€ж", "aж🎉", "🎉"}).Draw(t, "alphabet")
		text := rapid.StringOfN(rapid.SampledFrom([]rune(alphabet)), 0, 700, -1).Draw(t, "text")
		n := sms.Segments(text)
		units := len(utf16.Encode([]rune(text)))
		gsm := !strings.ContainsAny(text, "ж🎉")
		alone, part := 70, 67
		if gsm {
			alone, part = 160, 153
			units += strings.Count(text, "€")
		}
		switch {
		case text == "":
			require.Zero(t, n)
		case units <= alone:
			require.Equal(t, 1, n)
		default:
			// Each part but the last is full but for one unit at most, where a character would have been cut.
			require.GreaterOrEqual(t, n*part, units)
			require.Less(t, (n-1)*(part-1), units)
		}
		require.GreaterOrEqual(t, sms.Segments(text+"a"), n, "a longer text takes fewer")
	})
}

func TestNumber(t *testing.T) {
	for _, c := range []struct{ name, phone, want string }{
		{"as it is", "+14155550100", "+14155550100"},
		{"with separators", " +1 (415) 555-0100 ", "+14155550100"},
		{"with dots and a slash", "+49.30/1234567", "+49301234567"},
		{"without its country", "0415 555 0100", ""},
		{"without a plus", "14155550123", ""},
		{"a country that begins with 0", "+04155550100", ""},
		{"with a (0) to be left out", "+44 (0)20 7946 0018", ""},
		{"too short", "+12345", ""},
		{"too long", "+1234567890123456", ""},
		{"letters", "+1415555CAFE", ""},
		{"other digits", "+١٤١٥٥٥٥٠١٠٠", ""},
		{"another channel of the provider's", "whatsapp:+14155550100", ""},
		{"none", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := sms.Number(c.phone)
			require.Equal(t, c.want, got)
			if c.want != "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, channels.ClassAddress, channels.AsDelivery(err).Class)
			if len(c.phone) > 3 {
				require.NotContains(t, err.Error(), c.phone)
			}
		})
	}
	require.Equal(t, "+14…00", sms.Short("+14155550100"))
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name  string
		text  any
		limit int
		want  string
		err   string
	}{
		{"white space around it is cut off", "\n Hi there \n", 1, "Hi there", ""},
		{"at the limit", strings.Repeat("x", 306), 2, strings.Repeat("x", 306), ""},
		{"above the limit", strings.Repeat("x", 307), 2, "", "message (too_long): it takes 3 text messages, and max_segments is 2"},
		{"because of one character", strings.Repeat("x", 70) + "’", 1, "", "it takes 2 text messages, and max_segments is 1: '’' is not in the GSM alphabet"},
		{"blank", "  ", 1, "", "message (field): the field text is empty"},
		{"none", nil, 1, "", "message (field): the field text is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := channels.Message{Fields: map[string]any{"text": c.text}}
			got, err := sms.Text(&m, c.limit)
			require.Equal(t, c.want, got)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Equal(t, channels.ClassMessage, channels.AsDelivery(err).Class)
				return
			}
			require.NoError(t, err)
			n, err := sms.Measure(&m)
			require.NoError(t, err)
			require.LessOrEqual(t, n, c.limit)
		})
	}
}
