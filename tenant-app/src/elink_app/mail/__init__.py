"""Mail as bytes and as a dialogue: composing, signing and sending. Knows no tables and no HTTP."""
