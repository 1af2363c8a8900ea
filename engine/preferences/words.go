package preferences

import (
	"net/http"
	"slices"

	"golang.org/x/text/language"

	"nudge/segments"
)

// words are the page's own texts in one language. Those with %s take the title of a category, and then of a channel.
type words struct {
	Lang string // of the page: a BCP 47 tag

	What, WhatOf      string // the heading, and behind the title of nudge.yaml
	Nobody            string
	Got, Stop, By     string
	Choose, Save, All string
	Always            string
	// Of the choice to get what can wait in one message: Collect takes that one's title.
	CanWait, Collect, Together string

	stopped, allStopped, saved, tested string
	badLink, later                     string

	channels map[string]string // names of channels, as they stand behind By
}

// languages of the page; the first is for whoever reads none of the others.
func languages() []words {
	return []words{
		{
			Lang: "en", What: "What you get", WhatOf: "%s: what you get",
			Nobody: "Nothing is kept about you here, so you get no messages.",
			Got:    "You got “%s” by %s.", Stop: "Stop “%s” by %s", By: "By %s",
			Choose: "Choose", Save: "Save", All: "Stop all of these",
			Always:  "Messages about your orders and your account come all the same.",
			CanWait: "What can wait", Collect: "Collect it for me: %s", Together: "Then you get it together, and not one by one.",
			stopped: "You get no more “%s” by %s.", allStopped: "You get no more messages of these kinds.", saved: "Saved.",
			tested:   "This was a test message: nothing was changed.",
			badLink:  "This link is not valid. It may have been cut: please use the one in the message itself.",
			later:    "This does not work at the moment. Please try again in a minute.",
			channels: map[string]string{"email": "e-mail", "sms": "SMS", "push": "push notification"},
		},
		{
			Lang: "de", What: "Was Sie bekommen", WhatOf: "%s: was Sie bekommen",
			Nobody: "Über Sie ist hier nichts gespeichert, und Sie bekommen keine Nachrichten.",
			Got:    "Sie haben „%s“ per %s bekommen.", Stop: "„%s“ per %s abbestellen", By: "Per %s",
			Choose: "Auswählen", Save: "Speichern", All: "Alle abbestellen",
			Always:  "Nachrichten zu Ihren Bestellungen und Ihrem Konto kommen trotzdem.",
			CanWait: "Was warten kann", Collect: "Für mich sammeln: %s", Together: "Dann bekommen Sie es zusammen und nicht einzeln.",
			stopped: "Sie bekommen „%s“ nicht mehr per %s.", allStopped: "Sie bekommen keine solchen Nachrichten mehr.", saved: "Gespeichert.",
			tested:   "Das war eine Testnachricht: Nichts wurde geändert.",
			badLink:  "Dieser Link ist nicht gültig. Vielleicht ist er abgeschnitten: Bitte nehmen Sie den aus der Nachricht selbst.",
			later:    "Das geht im Moment nicht. Bitte versuchen Sie es in einer Minute noch einmal.",
			channels: map[string]string{"email": "E-Mail", "sms": "SMS", "push": "Push-Nachricht"},
		},
		{
			Lang: "es", What: "Qué recibe", WhatOf: "%s: qué recibe",
			Nobody: "Aquí no se guarda nada sobre usted, así que no recibe mensajes.",
			Got:    "Ha recibido «%s» por %s.", Stop: "Dejar de recibir «%s» por %s", By: "Por %s",
			Choose: "Elegir", Save: "Guardar", All: "Dejar de recibir todos",
			Always:  "Los mensajes sobre sus pedidos y su cuenta seguirán llegando.",
			CanWait: "Lo que puede esperar", Collect: "Reunirlo para mí: %s", Together: "Así lo recibe todo junto, y no uno por uno.",
			stopped: "Ya no recibirá «%s» por %s.", allStopped: "Ya no recibirá mensajes de este tipo.", saved: "Guardado.",
			tested:   "Era un mensaje de prueba: no se ha cambiado nada.",
			badLink:  "Este enlace no es válido. Puede que esté cortado: use el que está en el propio mensaje.",
			later:    "Ahora mismo no funciona. Inténtelo de nuevo dentro de un minuto.",
			channels: map[string]string{"email": "correo electrónico", "sms": "SMS", "push": "notificación push"},
		},
		{
			Lang: "fr", What: "Ce que vous recevez", WhatOf: "%s : ce que vous recevez",
			Nobody: "Rien n’est conservé sur vous ici, et vous ne recevez aucun message.",
			Got:    "Vous avez reçu « %s » par %s.", Stop: "Ne plus recevoir « %s » par %s", By: "Par %s",
			Choose: "Choisir", Save: "Enregistrer", All: "Ne plus rien recevoir de tout cela",
			Always:  "Les messages sur vos commandes et votre compte continuent d’arriver.", //nolint:misspell // it is French
			CanWait: "Ce qui peut attendre", Collect: "Le rassembler pour moi : %s", Together: "Vous recevez alors le tout ensemble, et non un par un.",
			stopped: "Vous ne recevrez plus « %s » par %s.", allStopped: "Vous ne recevrez plus de messages de ce genre.", saved: "Enregistré.",
			tested:   "C’était un message de test : rien n’a été modifié.",
			badLink:  "Ce lien n’est pas valide. Il a peut-être été coupé : utilisez celui du message lui-même.",
			later:    "Cela ne fonctionne pas pour le moment. Réessayez dans une minute.",
			channels: map[string]string{"email": "e-mail", "sms": "SMS", "push": "notification push"},
		},
	}
}

// wordsFor are the texts for somebody: in the language that is known of them, else in one that their browser asks for.
func (p *page) wordsFor(r *http.Request, profile *segments.Profile) words {
	var tags []language.Tag
	if profile != nil && profile.Locale != "" {
		tags = append(tags, language.Make(profile.Locale))
	}
	asked, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err == nil {
		tags = append(tags, asked...)
	}
	for _, tag := range tags {
		base, _ := tag.Base()
		if i := slices.IndexFunc(p.words, func(w words) bool { return w.Lang == base.String() }); i >= 0 {
			return p.words[i]
		}
	}
	return p.words[0]
}
