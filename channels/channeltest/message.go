package channeltest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"nudge/channels"
)

// Message makes the i-th of a series of push messages that any push adapter accepts.
func Message(i int) channels.Message {
	return channels.Message{
		Key:     fmt.Sprintf("cart-abandoned/person-%d/cart-%d/push/device-1", i, i),
		Address: channels.Address{UserID: fmt.Sprintf("user-%d", i), Token: Token(i), Platform: "ios", App: "example.shop", Environment: "production"},
		Fields: map[string]any{
			"title": "Still thinking about the blue shoes?",
			"body":  "They are waiting in your cart. 3 people looked at them today.",
			"link":  "https://shop.example/cart",
		},
		About:  map[string]string{"rule": "cart-abandoned", "variant": "a", "category": "promotional"},
		Signed: fmt.Sprintf("signed-id-%d-%s", i, Token(i)[:16]),
		TTL:    4 * time.Hour,
	}
}

// Token is the i-th of a series of device tokens, 64 hexadecimal digits.
func Token(i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "device %d", i))
	return hex.EncodeToString(sum[:])
}

// Number is the i-th person's of a series.
func Number(i int) string { return fmt.Sprintf("+1415555%04d", i+1) }

// Text makes the i-th of a series of text messages, to the i-th number.
func Text(i int) channels.Message {
	m := Message(i)
	m.Address = channels.Address{UserID: m.Address.UserID, Phone: Number(i)}
	m.Fields = map[string]any{"text": "Your shoes are still in your cart: https://shop.example/cart"}
	return m
}

// NumberOf is how a provider knows a text message of the series by its key: by its number, which is all that it has.
func NumberOf(key string) string {
	var i, cart int
	if _, err := fmt.Sscanf(key, "cart-abandoned/person-%d/cart-%d/push/device-1", &i, &cart); err != nil {
		return key
	}
	return Number(i)
}
