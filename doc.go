// Package bollwerk is the vocabulary of the product: the nouns that every other
// package speaks, as plain data with parsing and comparing and no behaviour.
//
// It imports the standard library only. A type belongs here when two concepts
// have to speak of it; what only one concept needs stays there.
package bollwerk
