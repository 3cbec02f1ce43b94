import { words } from "../words";

export function Logo() {
  return (
    <span class="logo">
      <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
        <rect class="logo-ground" width="32" height="32" rx="8" />
        <path class="logo-eye" d="M4 16c3.4-5.4 7.4-8 12-8s8.600 2.600 12 8c-3.400 5.400-7.400 8-12 8s-8.600-2.600-12-8z" />
        <circle class="logo-ground" cx="16" cy="16" r="4.600" />
      </svg>
      <span>{words.product}</span>
    </span>
  );
}
