package webpush

import (
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"testing"

	"nudge/channels/channeltest/webpushd"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	return raw
}

// TestVectorOfRFC8291 is the example of its section 5, whose values its appendix A repeats.
func TestVectorOfRFC8291(t *testing.T) {
	const (
		plain = "When I grow up, I want to be a watermelon"
		body  = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
	)
	raw, err := json.Marshal(map[string]any{"endpoint": "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV", "keys": map[string]string{
		"p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "auth": "BTBZMqHH6r4Tts7J_aSIgg",
	}})
	require.NoError(t, err)
	to, err := readSubscription(base64.RawURLEncoding.EncodeToString(raw))
	require.NoError(t, err)
	once, err := ecdh.P256().NewPrivateKey(bytesOf(t, "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
	require.NoError(t, err)
	sealed, err := seal([]byte(plain), to, once, bytesOf(t, "DGv6ra1nlYgDCS1FRnbzlw"))
	require.NoError(t, err)
	require.Equal(t, body, base64.RawURLEncoding.EncodeToString(sealed))

	browser, err := ecdh.P256().NewPrivateKey(bytesOf(t, "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
	require.NoError(t, err)
	opened, err := webpushd.DecryptWith(browser, to.auth, bytesOf(t, body))
	require.NoError(t, err)
	require.Equal(t, plain, string(opened))
}

func TestWhatIsEncryptedIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, maxPlain).Draw(t, "plain")
		to, err := readSubscription(webpushd.Token("push.example.com", "ann"))
		require.NoError(t, err)
		sealed, err := encrypt(plain, to)
		require.NoError(t, err)
		require.LessOrEqual(t, len(sealed), 4096)
		opened, err := webpushd.Decrypt("ann", sealed)
		require.NoError(t, err)
		require.Equal(t, string(plain), string(opened))
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		if i >= 16 && i < 20 { // the record's size is not part of what is protected
			return
		}
		sealed[i] ^= 1
		_, err = webpushd.Decrypt("ann", sealed)
		require.Error(t, err, "a changed byte is noticed")
	})
}

func TestPublicAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"142.250.1.1": true, "2a00:1450:4001::1": true,
		"127.0.0.1": false, "10.0.0.1": false, "172.16.9.9": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false,
		"::1": false, "::": false, "fe80::1%eth0": false, "fd00::1": false, "::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "ff02::1": false,
	} {
		require.Equal(t, want, public(netip.MustParseAddr(text)), text)
	}
}
