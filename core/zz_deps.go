package core

import _ "github.com/xdg-go/scram" // until core/smtpd/sasl and core/deliver use it
