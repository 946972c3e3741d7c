"""Text as scoring compares it: characters, notes for the reader, English, numbers, other languages."""
