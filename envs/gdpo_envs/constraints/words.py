"""The words that instructions and their replies are made of. Keywords, fillers, endings and numbers share none."""

from __future__ import annotations

KEYWORDS = (
    *("ant", "bag", "bed", "box", "bus", "cap", "car", "cat", "cow", "cup", "dog", "egg", "fan", "fox", "hat"),
    *("hen", "ice", "jam", "jar", "key", "log", "map", "net", "owl", "pen", "pig", "sky", "sun", "tea", "van"),
)
FILLERS = ("also", "and", "here", "now", "plus", "then", "too", "with")
ENDINGS = ("bye", "done", "over", "stop")
NUMBERS = {
    "English": {2: "two", 3: "three", 4: "four", 6: "six", 7: "seven", 8: "eight"},
    "French": {2: "deux", 3: "trois", 4: "quatre", 6: "six", 7: "sept", 8: "huit"},
    "Italian": {2: "due", 3: "tre", 4: "quattro", 6: "sei", 7: "sette", 8: "otto"},
    "Spanish": {2: "dos", 3: "tres", 4: "cuatro", 6: "seis", 7: "siete", 8: "ocho"},
}
"""Number words by language."""
NUMBER_WORDS = frozenset(word for words in NUMBERS.values() for word in words.values())
