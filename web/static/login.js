// The login: a user with a password, or a token. It is kept as long as the tab is open.

import { keepLogin, loginHeaders, logins } from "./api.js";
import { byId, notify } from "./dom.js";

const SCHEMES = {
  basic: ({ user, password }) => ({ Authorization: `Basic ${base64(`${user}:${password}`)}` }),
  bearer: ({ token }) => ({ Authorization: `Bearer ${token}` }),
  keystone: ({ token }) => ({ "X-Auth-Token": token }),
};

export function setUpLogin() {
  const dialog = byId("login");
  const form = byId("login-form");
  const button = byId("login-open");

  function show() {
    button.hidden = false;
    button.textContent = Object.keys(loginHeaders()).length ? "Log out" : "Log in";
  }

  function chooseScheme() {
    const isBasic = form.elements.scheme.value === "basic";
    byId("login-basic").hidden = !isBasic;
    byId("login-token").hidden = isBasic;
  }

  logins.addEventListener("needed", () => {
    const refused = Object.keys(loginHeaders()).length > 0;
    if (refused) {
      sessionStorage.clear();
      notify(byId("login-notice"), "This login was not accepted.", "error");
    }
    show();
    if (!dialog.open) dialog.showModal();
  });
  button.addEventListener("click", () => {
    if (Object.keys(loginHeaders()).length) {
      keepLogin(null);
      show();
    } else dialog.showModal();
  });
  form.addEventListener("change", chooseScheme);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    notify(byId("login-notice"), "");
    keepLogin(SCHEMES[given.scheme](given));
    form.reset();
    chooseScheme();
    dialog.close();
    show();
  });
  byId("login-cancel").addEventListener("click", () => dialog.close());
  if (Object.keys(loginHeaders()).length) show();
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
