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
