// The login: a user with a password, or a token. It is kept as long as the tab is open.

import { forgetLogin, giveLogin, loginHeaders, logins } from "./api.js";
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
  let isDeclined = false;

  const isGiven = () => Object.keys(loginHeaders()).length > 0;

  function show() {
    button.hidden = false;
    button.textContent = isGiven() ? "Log out" : "Log in";
  }

  function chooseScheme() {
    const isBasic = form.elements.scheme.value === "basic";
    byId("login-basic").hidden = !isBasic;
    byId("login-token").hidden = isBasic;
  }

  logins.addEventListener("needed", () => {
    if (isGiven()) {
      forgetLogin();
      notify(byId("login-notice"), "This login was not accepted.", "error");
      isDeclined = false;
    }
    show();
    if (!dialog.open && !isDeclined) dialog.showModal();
  });
  button.addEventListener("click", () => {
    if (isGiven()) {
      forgetLogin();
      location.reload(); // nothing that was shown may stay
    } else dialog.showModal();
  });
  form.addEventListener("change", chooseScheme);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    notify(byId("login-notice"), "");
    form.reset();
    chooseScheme();
    dialog.close();
    giveLogin(SCHEMES[given.scheme](given));
    show();
  });
  dialog.addEventListener("close", () => {
    isDeclined = !isGiven();
  });
  byId("login-cancel").addEventListener("click", () => dialog.close());
  if (isGiven()) show();
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
