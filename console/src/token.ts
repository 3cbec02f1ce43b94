/** Reading a sign-in token out of what a person has: an address or the bare token. Pure. */

/** The token in a fragment (`#token=…`), or null. */
export function tokenOfFragment(fragment: string): string | null {
  const found = /(?:^#?|&)token=([^&]+)/.exec(fragment)?.[1];
  if (found === undefined) return null;
  try {
    // not URLSearchParams, which would read the + of a base64 token as a space
    return decodeURIComponent(found);
  } catch {
    return found;
  }
}

/** The token in what was pasted: a whole link, its fragment, or the token itself. */
export function tokenOfPaste(paste: string): string | null {
  const trimmed = paste.trim();
  const hash = trimmed.indexOf("#");
  if (hash >= 0) return tokenOfFragment(trimmed.slice(hash));
  if (trimmed.startsWith("token=")) return tokenOfFragment(trimmed);
  // an address without a token, or words, are no token
  return trimmed === "" || /[\s/]/.test(trimmed) ? null : trimmed;
}
